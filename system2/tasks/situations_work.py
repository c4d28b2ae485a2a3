"""Situations of work, building and public places."""

from system2.tasks.situations import read_situations

WORK = read_situations("""\
# factory
item = toy, lamp, clock, chair
x = The factory has # {items}.
y = There are # good crates.
m = The factory gets # dollars.
> given_rates: A factory makes {items} with two machines. The old machine makes {k} {items} an
    hour and the new one makes {k2} an hour. Both run for {k3} hours. | In an hour they make #
    {items}.
> given_net: A factory makes {items} day and night. Each hour it makes {g} {items}, but {k} of
    them are bad and are thrown out. It runs for {k2} hours. | In an hour # {items} are good.
+ lose: Then {n} {items} are sold in the factory shop.
+ gain: From the day before there are {n} more {items}, which are added.
+ lose_groups: {k} trucks take {g} {items} each to the city. | The trucks take # {items}.
+ halve: Half of all the {items} are painted and sent away.
+ pack: All the {items} are packed into crates of {k}.
+ lose_second: {n} crates fall down and break.
+ sell_second: The good crates are sold for {p} dollars each.
? ask_x: How many {items} does the factory have now?
? ask_y: How many good crates does the factory have now?
? ask_m: How many dollars does the factory get for the crates?
? ask_worth: All the {items} are sold for {p} dollars each. How many dollars does the factory get?
    | The factory gets # dollars.
~ The old machine is {d} years old.
~ The factory has {d} doors.

# brick_wall
x = There are # bricks in the yard.
> given_groups: {A} and {B} build a wall from bricks. A truck brings {k} loads of {g} bricks to
    the yard.
> given_sum: {A} and {B} build a wall from bricks. There are {s} red bricks and {n} brown bricks
    in the yard.
+ lose_few: {A} works for {k} hours and lays {k2} bricks each hour. | {A} lays # bricks.
+ lose_groups: {B} lays {g} bricks each hour for {k} hours. | {B} lays # bricks.
+ lose: In the rain {n} bricks break in the yard.
+ gain: A neighbor gives them {n} more bricks.
+ lose_third: A third of the bricks in the yard are needed for the path. | The path takes #
    bricks.
? ask_x: How many bricks are in the yard now?
? ask_two_rates: From now on {A} lays {k} and {B} lays {k2} bricks an hour at the same time. In
    how many hours are all the bricks laid? | In an hour they lay # bricks. | That takes # hours.
? ask_loss: How many fewer bricks are in the yard now than at the start? | That is # fewer bricks.
? ask_missing: They need {c} bricks in the yard for the next wall, and {k} bricks fit in a cart.
    How many carts of bricks must they bring? | There are # bricks missing. | They must bring #
    carts.
~ The wall is {d} feet from the house.
~ {B} has built walls for {d} months.

# mail
x = {A} has # pieces of mail.
> given_two_groups: {A} brings the mail to a small town. {He} starts with {k} bags of {g} letters
    each and {k2} boxes of {g2} letters each. | The bags hold # letters. | The boxes hold #
    letters.
> given_sum: {A} brings the mail to a small town. {He} starts with {s} letters and {n} cards, all
    in one bag. | In the bag there are # letters and cards.
+ lose: On the main street {he} leaves {n} pieces of mail.
+ lose_few: At each of {k} farms {he} leaves {k2} pieces of mail. | At the farms {he} leaves #
    pieces.
+ gain: At a shop {he} takes on {n} pieces of mail.
+ halve: At the school {he} leaves half of the mail that {he} has then.
+ lose_quarter: A quarter of the mail that {he} has then goes to the hospital. | The hospital gets
    # pieces.
? ask_x: How many pieces of mail does {he} have now?
? ask_share: The rest is for {k} houses, and each house gets the same number. How many pieces of
    mail does each house get? | Each house gets # pieces.
? ask_left_over_few: Then {k} houses get {k2} pieces each. How many pieces of mail does {he} still
    have? | The houses get # pieces. | {A} still has # pieces.
~ {A} walks {d} miles a week.
~ The town is {d} years old.

# theater
x = There are # free seats.
> given_groups: A theater shows a new play tonight. It has {k} rows with {g} seats in each row,
    and at first all the seats are free.
> given_two_groups: A theater shows a new play tonight. It has {k} long rows with {g} seats each
    and {k2} short rows with {g2} seats each. At first all the seats are free. | The long rows
    have # seats. | The short rows have # seats.
+ lose: A school class takes {n} of the free seats.
+ lose_few: {k} families take {k2} free seats each. | The families take # seats.
+ lose_third: A club takes a third of the free seats. | The club takes # seats.
+ regain: Then {n} people give their seats back, so these seats are free again.
+ gain_few: The workers add {k} rows with {k2} free seats each. | The new rows have # seats.
? ask_x: How many seats are free now?
? ask_left_over: Then {k} groups take {g} free seats each. How many seats are free in the end? |
    The groups take # seats. | So # seats are free.
? ask_worth: All the free seats are then sold for {p} dollars each. How many dollars does the
    theater get for them? | The theater gets # dollars.
? ask_twice_room: Then twice as many people come as there are free seats. How many people come? |
    Then # people come.
~ The play takes {d} minutes.
~ There are {d} actors in the play.

# museum_days
x = On Friday # visitors come.
y = On Saturday # visitors come.
z = On Sunday # visitors come.
> given: A museum counts its visitors on three days. On Friday {s} visitors come.
> given_groups: A museum counts its visitors on three days. On Friday {k} groups of {g} visitors
    come.
+ more: On Saturday {n} more visitors come than on Friday.
+ times: On Saturday {k} times as many visitors come as on Friday.
+ fewer: On Saturday {n} fewer visitors come than on Friday.
+ third_both: On Sunday as many visitors come as on the other two days together.
+ third_half: On Sunday half as many visitors come as on Saturday.
+ third_less_than_twice: On Sunday {n} visitors fewer than twice as many as on Saturday come. |
    Twice as many is # visitors.
? ask_z: How many visitors come on Sunday?
? ask_both: How many visitors come on Friday and Saturday together? | On the two days # visitors
    come.
? ask_all: How many visitors come on the three days together? | On the first two days # visitors
    come. | In all # visitors come.
? ask_all_missing: The museum wants {c} visitors on these three days. How many visitors are
    missing? | On the first two days # visitors come. | In all # visitors come. | There are #
    visitors missing.
? ask_all_share: How many visitors come on an average day of the three? | On the first two days #
    visitors come. | In all # visitors come. | The average is # visitors.
~ The museum has {d} rooms.
~ The oldest picture is {d} inches wide.

# zoo_food
big = elephant, bear, tiger
small = monkey, seal, bird
x = In a day it is # pounds.
y = The zoo has to buy # pounds.
> given_two_groups_day: A zoo buys food for its animals. Each day {k} {bigs} eat {g} pounds each,
    and {k2} {smalls} eat {k3} pounds each. | The {bigs} eat # pounds. | The {smalls} eat #
    pounds.
> given_groups: A zoo buys food for its animals. Each day {k} {bigs} eat {g} pounds each.
+ gain: All the other animals eat {n} pounds a day.
+ gain_few: Then {k} young lions come, and each eats {k2} pounds a day. | The lions eat # pounds.
+ lose: Now it is winter, and the animals of the zoo eat {n} pounds less a day.
+ some_days: The zoo wants to buy food for {k} days.
+ lose_second: The zoo still has {n} pounds of food, so it buys only the rest.
? ask_x: How many pounds of food does the zoo need for one day?
? ask_y: How many pounds of food does the zoo have to buy?
? ask_week: How many pounds of food does the zoo need for a week? | In a week it is # pounds.
? ask_y_share: The food comes in bags of {k} pounds. How many bags does the zoo have to buy? | The
    zoo buys # bags.
~ The zoo has {d} gates.
~ The oldest animal is {d} years old.

# printing
x = There are # pages.
y = {A} needs # sheets.
> given_groups: {A} prints a paper for the school. {He} needs {g} copies, and each copy has {k}
    pages.
> given_sorts: {A} prints a paper for the school. {He} prints {g} copies of {k} pages each, and
    before that {n2} pages for a test. | The copies have # pages.
+ gain: {B} asks for {n} pages more.
+ lose: Then {n} of the pages are not needed and are taken out.
+ pack_pairs: {He} prints all the pages on both sides of the sheets, two pages on each sheet.
+ gain_second: For the title {he} adds {n} colored sheets.
+ lose_second: {He} already has {n} sheets at home and buys only the rest.
? ask_x: How many pages does {he} print?
? ask_y: How many sheets does {he} buy in all?
? ask_share: The printer prints {k} pages a minute. How many minutes does {he} need for all the
    pages? | That takes # minutes.
? ask_y_share: Sheets come in packs of {k}. How many packs does {he} buy? | {A} buys # packs.
? ask_y_worth: Each sheet costs {p} cents. How many cents does {he} pay? | {A} pays # cents.
~ The printer is {d} months old.
~ The school has {d} teachers.

# painters
x = The wall is # feet long.
y = The wall is # feet high.
m = The painters have # square feet to paint.
> given_width: Painters paint a wall in a hall. The wall is {g} feet long and {k} feet high, and
    each square foot must be painted.
> given_length_times: Painters paint a wall in a hall. The wall is {k} feet high, and its length
    is {k2} times its height. Each square foot must be painted.
+ gain_k: The owner makes the wall {k} feet longer before they start.
+ area: They first find the area of the whole wall.
+ lose_measure: {n} square feet are windows and stay as they are.
+ lose_measure_few: On {k} days they paint {k2} square feet each day. | On these days they paint #
    square feet.
+ halve_measure: The owner then paints half of what is still to be painted.
? ask_m: How many square feet do the painters still have to paint?
? ask_m_worth: They get {p} dollars for each square foot that is still to be painted. How many
    dollars is that? | They get # dollars.
? ask_share_measure: One can of paint is enough for {k} square feet. How many cans do they need
    for what is still to be painted? | They need # cans.
~ The hall is {d} years old.
~ The painters drive {d} miles to the hall.

# warehouse
item = table, chair, desk, bed, box|boxes
x = There are # {items}.
> given_nested: A warehouse stores {items} in {k} halls. Each hall has {k2} shelves with {k3}
    {items} on each shelf. | There are # shelves.
> given_sum: A warehouse stores {items} in two halls. In the east hall there are {s} {items} and
    in the west hall {n} {items}.
+ lose_nested_two: For {k} days 2 trucks come each day, and each truck takes {k2} {items} away. |
    In all # trucks come. | They take # {items}.
+ gain_nested_two: For {k} days 2 ships come each day, and each ship brings {k2} {items}. | In all
    # ships come. | They bring # {items}.
+ lose: A fire destroys {n} {items}.
+ gain: Later {n} {items} come by train.
+ lose_third: A third of all the {items} are sold. | So # {items} are sold.
? ask_x: How many {items} are in the warehouse now?
? ask_share: One truck can take {k} {items}. How many trucks do they need to take all the {items}
    away? | They need # trucks.
? ask_gain: How many more {items} are in the warehouse now than at the start? | That is # more
    {items}.
? ask_loss: How many fewer {items} are in the warehouse now than at the start? | That is # fewer
    {items}.
~ The warehouse is {d} feet high.
~ The owner has worked there for {d} months.

# hospital
x = There are # free beds.
> given_groups: A hospital has {k} floors, and on each floor there are {g} beds. On Monday morning
    every bed is free.
> given_less: A hospital has {s} beds. On Monday morning {n} of the beds are taken and all the
    others are free.
+ lose: Then {n} new patients come, and each takes a free bed.
+ regain: Then {n} patients go home, so their beds are free again.
+ reswap: At night {n} new patients come, and after that {n2} others go home. | Then # beds are
    free. | There are # free beds.
+ gain_few: The hospital buys {k} sets of {k2} new beds, which are free. | The sets have # beds.
+ halve: Half of the free beds are lent to another town.
? ask_x: How many beds are free now?
? ask_worth: Each free bed gets {p} sheets. How many sheets do the free beds need? | They need #
    sheets.
? ask_share: A nurse can look after {k} beds. How many nurses are needed for the free beds when
    all of them are taken? | They need # nurses.
~ The hospital has {d} doctors.
~ The hospital is {d} years old.
""")
