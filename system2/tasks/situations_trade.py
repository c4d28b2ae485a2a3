"""Situations of buying, selling, earning and saving."""

from system2.tasks.situations import read_situations

TRADE = read_situations("""\
# market_stall
item = apple, melon, egg, orange, flower
x = {A} has # {items}.
m = {A} has # dollars.
> given: {A} sells {items} at the market. In the morning {he} has {s} fresh {items}.
> given_groups: {A} sells {items} at the market. In the morning {he} brings {k} boxes with {g}
    {items} in each box.
+ lose: Then {he} sells {n} {items} to a cook.
+ gain: A farmer brings {him} {n} more {items}.
+ lose_groups: Later {k} families buy {g} {items} each. | The families buy # {items}.
+ halve: A school comes and buys half of all {his} {items}.
+ lose_third: A third of {his} {items} are bad and {he} throws the bad ones away. | The bad ones
    are # {items}.
+ sell: At the end {he} sells all {his} {items} for {p} dollars each.
+ lose_measure: From this money {he} pays {n} dollars for the stall.
? ask_x: How many {items} does {he} have now?
? ask_m: How many dollars does {he} have then?
? ask_worth: Each {item} costs {p} dollars. How many dollars are all {his} {items} worth now? |
    They are worth # dollars.
? ask_loss: How many fewer {items} does {he} have now than in the morning? | That is # fewer
    {items}.
~ The market is {d} years old.
~ There are {d} other stalls at the market.

# savings
x = {A} has # dollars.
y = {B} has # dollars.
> given: {A} is saving money for a new bike. {He} starts with {s} dollars.
> given_sum: {A} is saving money for a new bike. {He} gets {s} dollars from {his} aunt and {n}
    dollars from {his} uncle.
+ gain_groups: Then for {k} weeks {he} saves {g} dollars each week. | In these weeks {he} saves #
    dollars.
+ lose: Then {he} spends {n} dollars on a book.
+ double: Then {his} mother doubles {his} money.
+ more: By now {B} has {n} dollars more than {A}.
+ times: By now {B} has {k} times as much money as {A}.
+ half_as: By now {B} has half as much money as {A}.
+ lose_second: Then {B} spends {n} dollars on a gift.
? ask_x: How many dollars does {A} have now?
? ask_y: How many dollars does {B} have now?
? ask_both: How many dollars do {A} and {B} have together? | Together they have # dollars.
? ask_room: The bike costs {c} dollars. How many more dollars does {A} need? | {A} needs # more
    dollars.
? ask_missing: The bike costs {c} dollars. From now on {A} saves {k} dollars each week. After how
    many weeks can {he} buy the bike? | {A} needs # more dollars. | That takes # weeks.
~ {A} has {d} books at home.
~ The shop with the bike is {d} miles away.

# bakery
item = roll, cake, pie, loaf|loaves, cookie
x = The baker has # {items}.
y = There are # full boxes.
m = The baker gets # dollars.
> given_groups: In the morning a baker bakes {k} trays of {items}. There are {g} {items} on each
    tray.
> given_two_groups: A baker bakes {k} large trays with {g} {items} each and {k2} small trays with
    {g2} {items} each. | The large trays hold # {items}. | The small trays hold # {items}.
+ lose: A hotel buys {n} {items} from the baker.
+ gain: Then the baker bakes {n} more {items}.
+ gain_dozens: The helper brings {k} dozen {items} more from the oven. | The helper brings #
    {items}.
+ halve: The baker sends half of all the {items} to another shop.
+ lose_quarter: A quarter of all the {items} are burnt and go to the birds. | The burnt ones are #
    {items}.
+ pack: The baker packs all the {items} into boxes of {k}.
+ lose_second: Then {n} full boxes go to a party.
+ sell_second: The baker sells every box for {p} dollars.
? ask_x: How many {items} does the baker have now?
? ask_y: How many full boxes does the baker have now?
? ask_m: How many dollars does the baker get for the boxes?
? ask_left_over: Then {k} people buy {g} {items} each. How many {items} are left over? | They buy
    # {items}. | There are # {items} left over.
~ The baker gets up {d} minutes before the sun.
~ The bakery is {d} years old.

# shopping_bill
! settled
item = book, notebook, ruler, brush|brushes, cap
x = The bill of {A} is # dollars.
y = The bill of {B} is # dollars.
> given_cost: {A} goes to a shop to get ready for school. {He} buys {k} {items} for {p} dollars
    each.
> given_two_costs: {A} goes to a shop. {He} buys {k} {items} for {p} dollars each and {k2} maps
    for {p2} dollars each. | The {items} cost # dollars. | The maps cost # dollars.
+ gain: {He} also buys a bag for {n} dollars.
+ gain_cost: {He} also buys {k} pens for {p} dollars each. | The pens cost # dollars.
+ lose: The shop takes {n} dollars off {his} bill.
+ halve: Today is a sale, so the shop halves {his} bill so far.
+ more: The bill of {B} at the same shop is {n} dollars more than that of {A}.
+ half_as: The bill of {B} at the same shop is half that of {A}.
? ask_x: How many dollars does {he} have to pay?
? ask_y: How many dollars does {B} have to pay?
? ask_room: {He} pays with {c} dollars. How many dollars does {he} get back? | {A} gets back #
    dollars.
? ask_share: {His} {k} aunts share the bill in equal parts. How many dollars does each aunt pay? |
    Each aunt pays # dollars.
? ask_both: How many dollars do the two of them pay in all? | In all they pay # dollars.
~ The shop has {d} windows.
~ {He} walks {d} minutes to the shop.

# book_shop
x = The shop has # books.
y = There are # books for children.
> given_nested: A book shop has {k} rooms. Each room has {k2} shelves, and each shelf holds {k3}
    books. | There are # shelves.
> given_groups: A book shop opens with {k} full shelves, and each shelf holds {g} books.
+ gain: A truck brings {n} new books.
+ lose: The shop sells {n} books in the first week.
+ lose_week: For one week the shop sells {k} books every day. | In the week it sells # books.
+ halve: Half of all the books in the shop go to a library.
+ split: {n} of the books are for adults and the rest are for children.
+ split_third: A third of the books are for children.
+ gain_groups: The owner buys {k} boxes with {g} books each. | The boxes hold # books.
? ask_x: How many books are in the shop now?
? ask_y: How many books for children are in the shop?
? ask_y_worth: The shop sells all the books for children at {p} dollars each. How many dollars
    does it get? | It gets # dollars.
? ask_share: The owner puts all the books in the shop on {k} tables, the same number on each. How
    many books are on each table? | Each table has # books.
? ask_gain: How many more books does the shop have now than at the start? | That is # more books.
~ The shop is {d} years old.
~ The longest book has {d} pages.

# lemonade
x = {A} has # cups.
m = {A} has # dollars.
> given_groups: {A} makes lemonade to sell in the street. {He} fills {k} jugs, and each jug is
    enough for {g} cups.
> given: {A} makes {s} cups of lemonade and wants to sell them in the street.
+ lose: {He} drinks or spills {n} cups.
+ gain: {His} father makes {n} more cups.
+ lose_few: {He} gives {k} cups to each of {k2} neighbors for free. | The neighbors get # cups.
+ sell: {He} sells all {his} cups for {p} dollars each.
+ lose_measure: {He} has to pay {n} dollars for the lemons.
+ lose_measure_cost: {He} has to pay for {k} bags of sugar at {p} dollars each. | The sugar costs
    # dollars.
+ halve_measure: {He} gives half of {his} money to {B}, who helps.
? ask_x: How many cups can {he} sell?
? ask_m: How many dollars does {A} have in the end?
? ask_share_measure: {A} puts the money into {k} equal piles. How many dollars are in each pile? |
    Each pile has # dollars.
~ The street has {d} houses.
~ It is {d} degrees warm.

# shoe_shop
item = shoe, boot, sandal
x = The north shop has # pairs.
y = The south shop has # pairs.
> given_two: Two shoe shops start the week with a full store. The north shop has {s} pairs of
    {items} and the south shop has {s2} pairs.
> given_more: Two shops sell {items}. The north shop has {s} pairs, and the south shop has {n}
    pairs more than the north shop.
> given_times: Two shops sell {items}. The north shop has {s} pairs, and the south shop has {k}
    times as many pairs.
+ lose: The north shop sells {n} pairs.
+ lose_second: The south shop sells {n} pairs.
+ hand_over: The north shop sends {n} of its pairs to the south shop.
+ gain: A truck brings {n} new pairs to the north shop.
+ double_second: Then the south shop doubles its number of pairs.
? ask_x: How many pairs does the north shop have now?
? ask_y: How many pairs does the south shop have now?
? ask_both: How many pairs do both shops have together now? | Together they have # pairs.
? ask_behind: How many more pairs does the south shop have now than the north shop? | The south
    shop has # more pairs.
? ask_worth_both: Each pair costs {p} dollars. How many dollars are all the pairs in both shops
    worth now? | Together they have # pairs. | They are worth # dollars.
~ The two shops are {d} miles apart.
~ The north shop has {d} lamps.

# ticket_booth
! settled
show = show, music, circus, film
x = {A} has # dollars.
y = {B} has # dollars.
z = {C} has # dollars.
> given_two_costs: {A} sells tickets at the fair. In the first hour {he} sells {k} {show} tickets
    for {p} dollars each and {k2} ride tickets for {p2} dollars each. | The {show} tickets bring #
    dollars. | The ride tickets bring # dollars.
> given_cost: {A} sells tickets at the fair. In the first hour {he} sells {k} {show} tickets for
    {p} dollars each.
+ gain_cost: Later {he} sells {k} boat tickets for {p} dollars each. | The boat tickets bring #
    dollars.
+ lose: {He} gives {n} dollars back to people who are too late.
+ gain: A class pays {him} {n} dollars for a group ticket.
+ times: {B} takes in {k} times as much money as {A}.
+ fewer: {B} takes in {n} dollars less than {A}.
+ third_more: {C} takes in {n} dollars more than {B}.
+ third_both: {C} takes in as much money as {A} and {B} together.
? ask_x: How many dollars does {A} have from the tickets?
? ask_y: How many dollars does {B} take in?
? ask_z: How many dollars does {C} take in?
? ask_all: How many dollars do the three of them take in together? | {A} and {B} have # dollars. |
    With {C} it is # dollars.
? ask_both: How many dollars do {A} and {B} take in together? | Together they have # dollars.
~ The fair has {d} stands.
~ The big wheel at the fair is {d} meters high.

# car_wash
! settled
x = {A} washes # cars.
y = {B} washes # cars.
z = {C} washes # cars.
> given_two: On Saturday {A} and {B} wash cars. {A} washes {s} cars and {B} washes {s2} cars.
> given_rates_apart: On Saturday {A} and {B} wash cars for {k3} hours. {A} washes {k} cars an hour
    and {B} washes {k2} cars an hour.
+ gain: In the evening {A} washes {n} more cars.
+ gain_second: In the evening {B} washes {n} more cars.
+ third_more: {C} washes {n} more cars than {B}.
+ third_between: {C} washes half as many cars as {A} and {B} together. | {A} and {B} wash # cars.
? ask_ahead: How many more cars does {A} wash than {B}? | {A} washes # more cars.
? ask_both: How many cars do {A} and {B} wash together? | Together they wash # cars.
? ask_worth_both: They get {p} dollars for each car. How many dollars do {A} and {B} get together?
    | Together they wash # cars. | They get # dollars.
? ask_all: How many cars do the three of them wash in all? | {A} and {B} wash # cars. | With {C}
    it is # cars.
~ The sun shines for {d} minutes.
~ A new car wash opens in {d} weeks.

# wages
place = shop, library, garden, hotel, museum
x = {A} has # dollars.
> given_nested_cost: {A} works in a {place} for {k2} days and {k} hours each day. {He} gets {p}
    dollars an hour. | {A} works # hours.
> given_two_rates: {A} works in a {place} and gets {p} dollars an hour. {He} works {k} hours on
    Monday and {k2} hours on Tuesday. | {A} works # hours.
+ lose: {He} pays {n} dollars for a coat.
+ lose_few: {He} buys food for {k} days and spends {k2} dollars each day. | The food costs #
    dollars.
+ gain: The owner gives {him} {n} dollars as a thank you.
+ halve: {He} spends half of {his} money on a trip.
+ lose_quarter: {He} gives a quarter of {his} money to {his} sister. | The sister gets # dollars.
? ask_x: How many dollars does {he} have now?
? ask_room: {He} wants a phone for {c} dollars. How many dollars are still missing? | There are #
    dollars missing.
? ask_loss: How many fewer dollars does {he} have now than when {he} is paid? | That is # fewer
    dollars.
~ {He} has worked there for {d} weeks.
~ {His} way to work is {d} miles.

# restaurant
food = rice, fish, pasta, chicken
x = The bill is # dollars.
> given_two_costs: A group of friends eats out. They order {k} plates of {food} for {p} dollars
    each and {k2} drinks for {p2} dollars each. | The {food} costs # dollars. | The drinks cost #
    dollars.
> given_cost: A group of friends eats out. They order {k} plates of {food} for {p} dollars each.
+ gain: They share a big cake for {n} dollars.
+ gain_cost: They also order {k} soups for {p} dollars each. | The soups cost # dollars.
+ lose: The cook is slow, so {n} dollars are taken off the bill.
+ halve: It is a birthday, so the restaurant halves the bill so far.
? ask_x: How many dollars is the whole bill?
? ask_share: The {k} friends share the bill equally. How many dollars does each friend pay? | Each
    friend pays # dollars.
? ask_room: They pay with {c} dollars. How many dollars do they get back? | They get back #
    dollars.
? ask_tip_share: They add {n} dollars for the waiter, and {k} friends share it all equally. How
    many dollars does each friend pay? | With the waiter it is # dollars. | Each friend pays #
    dollars.
~ There are {d} pictures on the wall.
~ They wait {d} minutes for the food.

# flower_shop
item = rose, tulip, flower
x = There are # {items}.
y = There are # bunches.
m = The shop gets # dollars.
> given_sorts: A flower shop gets {k} bunches with {g} red {items} each and also {n2} white
    {items}. | There are # red {items}.
> given_dozens: A flower shop gets {k} dozen {items} from a gardener early in the morning.
+ lose: {n} {items} are too dry to sell, so they are thrown away.
+ gain: A farmer brings {n} {items} more.
+ lose_two: A bride takes {n} {items} and a school takes {n2} {items}. | They take # {items}.
+ lose_third: A third of all the {items} go to a hotel. | The hotel gets # {items}.
+ pack: The shop ties all the {items} into bunches of {k}.
+ lose_second: The shop gives {n} of these bunches away.
+ sell_second: All these bunches are sold for {p} dollars each.
? ask_x: How many {items} does the shop have now?
? ask_y: How many bunches does the shop have now?
? ask_m: How many dollars does the shop get for the bunches?
? ask_worth: The shop sells all the {items} for {p} dollars each. How many dollars does it get? |
    It gets # dollars.
~ The shop window is {d} feet long.
~ The owner has worked there for {d} months.
""")
