"""Situations of farms, gardens and animals."""

from system2.tasks.situations import read_situations

FARM = read_situations("""\
# hens
x = {A} has # eggs.
y = {A} has # boxes.
m = {A} gets # dollars.
> given_groups: {A} keeps hens and collects the eggs. {He} has {k} hens, and each hen lays {g}
    eggs a month.
> given_dozens: {A} keeps hens on a farm. In one month {he} collects {k} dozen eggs.
+ lose: {His} family eats {n} eggs.
+ lose_dozens: {He} sells {k} dozen eggs at the market. | {A} sells # eggs.
+ gain: {His} sister gives {him} {n} eggs from her own hens.
+ lose_two: {n} eggs break on Monday and {n2} eggs break on Friday. | In all # eggs break.
+ halve: A baker buys half of all {his} eggs.
+ pack: {He} packs all {his} eggs into boxes of {k}.
+ sell_second: {He} sells every box for {p} dollars.
+ lose_second: {He} gives {n} boxes to {his} friends.
? ask_x: How many eggs does {he} have now?
? ask_y: How many boxes does {he} have now?
? ask_m: How many dollars does {he} get for the boxes?
? ask_left_over: {He} makes {k} cakes with {g} eggs each. How many eggs are left over? | The cakes
    take # eggs. | There are # eggs left over.
~ The oldest hen is {d} months old.
~ The hen house is {d} feet long.

# orchard
fruit = apple, cherry|cherries, pear, orange
x = The farmer has # pounds.
y = The farmer has # bags.
m = The farmer gets # dollars.
> given_nested: An orchard has {k} rows of {fruit} trees with {k2} trees in each row. A farmer
    picks {k3} pounds from every tree. | There are # trees.
> given_two_groups: A farmer picks {g} pounds of {fruits} from each of {k} tall trees and {g2}
    pounds from each of {k2} small trees. | The tall trees give # pounds. | The small trees give #
    pounds.
+ lose: Birds eat {n} pounds of the {fruits}.
+ lose_third: A third of all the {fruits} become juice. | The juice takes # pounds.
+ halve: The farmer sends half of all the {fruits} to the city.
+ gain: The farmer gets {n} pounds more from another orchard.
+ pack: The farmer puts all the {fruits} into bags of {k} pounds.
+ lose_second: The farmer gives {n} bags to the workers.
+ sell_second: The farmer sells every bag for {p} dollars.
? ask_x: How many pounds of {fruits} does the farmer have now?
? ask_y: How many bags does the farmer have now?
? ask_m: How many dollars does the farmer get for the bags?
? ask_loss: How many fewer pounds does the farmer have now than at the start? | That is # fewer
    pounds.
~ The oldest tree is {d} years old.
~ {d} birds live in the orchard.

# farm_animals
animal = cow, horse, goat
other = sheep|sheep, duck, hen
x = The farm has # animals.
y = There are # {animals}.
z = There are # {others}.
> given: A farm has {s} animals in all. They are {animals}, {others} and pigs.
> given_groups: A farm has {k} barns with {g} animals in each barn. They are {animals}, {others}
    and pigs.
> given_sum: A farm has {s} animals, and then it buys {n} animals more. They are all {animals},
    {others} and pigs.
+ second: There are {n} {animals} on the farm.
+ half_as: Half of all the animals are {animals}.
+ times_of: One of every {k} animals on the farm is a {animal}.
+ third_times: There are {k} times as many {others} as {animals}.
+ third_more: There are {n} more {others} than {animals}.
+ third_fewer: There are {n} fewer {others} than {animals}.
? ask_rest: All the other animals are pigs. How many pigs are there? | There are # {animals} and
    {others}. | There are # pigs.
? ask_rest_share: All the other animals are pigs, and they live in pens of {k}. How many pens do
    the pigs fill? | There are # {animals} and {others}. | There are # pigs. | They fill # pens.
? ask_z: How many {others} are there?
~ The farm is {d} miles from the town.
~ There are {d} trees on the farm.

# legs
big = cow, sheep|sheep, goat
small = hen, duck
x = There are # legs in the barn.
> given_legs: A child counts legs in a barn. There are {g} {bigs} with 4 legs each and {g2}
    {smalls} with 2 legs each. | The {bigs} have # legs. | The {smalls} have # legs.
> given_fours: A child counts legs in a barn. At first there are only {g} {bigs}, and each {big}
    has 4 legs.
+ gain_twos: Then {k} geese with 2 legs each walk in. | The geese have # legs.
+ gain_fours: Then {k} dogs with 4 legs each come in. | The dogs have # legs.
+ gain_eights: Then {k} spiders with 8 legs each come in. | The spiders have # legs.
? ask_x: How many legs are in the barn now?
? ask_gain: How many more legs are in the barn now than at first? | That is # more legs.
? ask_legs_both: Another barn has {n} horses with 4 legs each. How many legs are in both barns
    together? | The horses have # legs. | Together there are # legs.
? ask_worth: It takes {p} minutes to wash a leg. How many minutes does it take to wash all the
    legs in the barn? | It takes # minutes.
~ The barn is {d} years old.
~ The child is {d} months older than a friend.

# garden_fence
item = grass, corn, rice
x = The length is # meters.
y = The width is # meters.
m = There are # square meters.
> given_width: {A} has a garden in the shape of a rectangle. It is {g} meters long and {k} meters
    wide.
> given_width_less: {A} has a garden in the shape of a rectangle. It is {g} meters long, and the
    width is {k} meters less than the length.
> given_length_times: {A} has a garden in the shape of a rectangle. It is {k} meters wide, and the
    length is {k2} times the width.
+ gain_k: {He} makes the garden {k} meters longer.
+ gain_second_k: {He} makes the garden {k} meters wider.
+ area: {He} plants {item} on the whole area of the garden.
+ lose_measure: {n} square meters are under trees and stay empty.
? ask_around: How many meters of fence does {he} need to go all around the garden? | Length and
    width together are # meters. | {He} needs # meters of fence.
? ask_around_gate: {He} wants a fence all around the garden except for a gate of {n} meters. How
    many meters of fence does {he} need? | Length and width together are # meters. | All around it
    is # meters. | {He} needs # meters of fence.
? ask_m: How many square meters of {item} are there?
? ask_m_worth: Each square meter needs {p} grams of seed. How many grams of seed does {he} need? |
    {He} needs # grams of seed.
? ask_around_worth: A fence goes all around the garden and costs {p} dollars a meter. How many
    dollars does the fence cost? | Length and width together are # meters. | The fence is # meters
    long. | The fence costs # dollars.
~ The house behind the garden is {d} years old.
~ {A} has {d} books about plants.

# honey
! settled
x = {A} has # jars.
y = {B} has # jars.
m = {A} gets # dollars.
> given_groups: {A} keeps bees. This year {he} has {k} hives, and each hive gives {g} jars of
    honey.
> given_sum: {A} keeps bees. This year the hives give {s} jars of honey in spring and {n} jars in
    summer.
+ lose: {He} gives {n} jars to {his} family.
+ lose_few: {He} gives {k} jars to each of {k2} friends. | The friends get # jars.
+ more_than_half: {B} has {n} jars more than half as many as {A} has now. | Half as many is #
    jars.
+ less_than_twice: {B} has {n} jars fewer than twice as many as {A} has now. | Twice as many is #
    jars.
+ sell: {A} then sells all {his} jars for {p} dollars each.
? ask_x: How many jars does {A} have now?
? ask_y: How many jars does {B} have?
? ask_m: How many dollars does {A} get?
? ask_worth_both: Each jar is worth {p} dollars. How many dollars are the jars of {A} and {B}
    worth together? | Together they have # jars. | They are worth # dollars.
? ask_both: How many jars do {A} and {B} have together? | Together they have # jars.
? ask_share: {A} puts all {his} jars into boxes of {k}. How many boxes are full? | There are #
    full boxes.
~ A bee can fly {d} miles in a day.
~ {B} lives {d} miles away.

# milk
x = The farmer has # liters.
y = The farm of {A} has # liters.
> given_week: A farmer gets {g} liters of milk from the cows on every day of one week.
> given_groups: One day a farmer milks {k} cows, and each of them gives {g} liters of milk.
+ lose: The farmer uses {n} liters to make butter.
+ lose_groups: The farmer sells {k} cans with {g} liters in each can. | The cans hold # liters.
+ lose_quarter: A quarter of all the milk becomes cheese. | The cheese takes # liters.
+ gain: Another farmer brings {n} liters more.
+ halve: Half of all the milk is sent to a school.
+ times: The farm of {A} has {k} times as much milk as this farmer now.
? ask_x: How many liters of milk does the farmer have now?
? ask_y: How many liters of milk does the farm of {A} have?
? ask_share: The farmer fills all the milk into bottles of {k} liters. How many bottles does the
    farmer need? | The farmer needs # bottles.
? ask_worth: The farmer sells all the milk that is left for {p} dollars a liter. How many dollars
    does the farmer get? | The farmer gets # dollars.
~ The milk truck is {d} years old.
~ The farm has {d} cats.

# pumpkins
item = pumpkin, melon, cabbage
x = {A} has # pounds.
y = {B} has # pounds.
z = {C} has # pounds.
> given: {A}, {B} and {C} grow {items} for a contest. The {item} of {A} weighs {s} pounds.
> given_less: {A}, {B} and {C} grow {items} for a contest. The {item} of {A} weighs {n} pounds
    less than the best one of last year, which had {s} pounds.
+ more: The {item} of {B} weighs {n} pounds more than that of {A}.
+ fewer: The {item} of {A} is {n} pounds heavier than that of {B}.
+ times: The {item} of {B} weighs {k} times as much as that of {A}.
+ times_of: The {item} of {A} weighs {k} times as much as that of {B}.
+ third_both: The {item} of {C} weighs as much as the other two together.
+ third_between: The {item} of {C} weighs half as much as the other two together. | The other two
    weigh # pounds.
+ third_more: The {item} of {C} weighs {n} pounds more than that of {B}.
+ third_fewer: The {item} of {B} is {n} pounds heavier than that of {C}.
? ask_y: How many pounds does the {item} of {B} weigh?
? ask_z: How many pounds does the {item} of {C} weigh?
? ask_both: How many pounds do the {items} of {A} and {B} weigh together? | Together they weigh #
    pounds.
? ask_all: How many pounds do all three {items} weigh together? | {A} and {B} have # pounds. |
    With {C} it is # pounds.
? ask_all_worth: Each pound is worth {p} dollars. How many dollars are all three {items} worth? |
    {A} and {B} have # pounds. | With {C} it is # pounds. | They are worth # dollars.
~ There are {d} gardens in the contest.
~ {A} waters the garden {d} times a month.

# horse_food
x = There are # bags of oats.
> given: A stable stores food for its horses. At first there are {s} bags of oats.
> given_groups: A stable stores food for its horses. A truck brings {k} loads of {g} bags of oats.
+ lose_nested: For {k} days {k2} horses eat 2 bags of oats each day. | In a day they eat # bags. |
    In all days they eat # bags.
+ lose_few: For {k} days the horses eat {k2} bags a day. | In these days they eat # bags.
+ gain: Then {n} new bags of oats are bought.
+ lose: Then {n} bags of oats get wet and are thrown out.
+ lose_third: The stable gives a third of all its bags to another stable. | The other stable gets
    # bags.
? ask_x: How many bags of oats are in the stable now?
? ask_share: From now on the horses eat {k} bags a day. For how many days is there food? | There
    is food for # days.
? ask_missing: The stable wants to have {c} bags, and a truck can bring {k} bags at a time. How
    many times must the truck come? | There are # bags missing. | The truck comes # times.
? ask_two_rates: From now on the brown horses eat {k} bags a day and the white horses eat {k2}
    bags a day. For how many days is there food? | In a day they eat # bags. | There is food for #
    days.
~ The youngest horse is {d} months old.
~ The stable has {d} doors.

# fish_pond
item = fish|fish, frog
x = There are # gold {items}.
y = There are # silver {items}.
> given_two: There are {s} gold {items} and {s2} silver {items} in a pond. A gardener looks after
    the pond.
> given_times: A gardener looks after a pond. In it are {s} gold {items} and {k} times as many
    silver {items}.
> given_fewer: A gardener looks after a pond. In it are {s} gold {items}. There are {n} fewer
    silver {items} than gold {items}.
+ gain: Then the gardener adds {n} gold {items}.
+ lose_second: A bird takes {n} silver {items}.
+ double_second: Over the year the number of silver {items} doubles.
+ halve: Then half of the gold {items} go to another pond.
+ gain_few: Then {k} children bring {k2} gold {items} each. | The children bring # {items}.
? ask_both: How many {items} are in the pond in all? | In all there are # {items}.
? ask_behind: How many more silver {items} than gold {items} are there now? | That is # more
    silver {items}.
? ask_ahead: How many more gold {items} than silver {items} are there now? | That is # more gold
    {items}.
? ask_share_both: All the {items} are moved into {k} tanks, the same number in each. How many
    {items} are in each tank? | In all there are # {items}. | Each tank has # {items}.
~ The pond is {d} feet wide.
~ The gardener has worked there for {d} months.

# seeds
plant = bean, corn, carrot, pea
x = {A} has # seeds.
y = There are # rows.
m = {A} picks # pounds.
> given_groups: {A} opens {k} packets of {plant} seeds for {his} garden. There are {g} seeds in
    each packet.
> given_sorts: {A} has {k} packets with {g} {plant} seeds each and also finds {n2} loose {plant}
    seeds. | The packets hold # seeds.
+ lose: A mouse eats {n} of {his} seeds.
+ gain: {He} buys {n} more {plant} seeds.
+ lose_groups: {He} gives {k} neighbors {g} seeds each. | The neighbors get # seeds.
+ pack: {He} plants all {his} seeds in rows of {k}.
+ lose_second: Rain destroys {n} of the rows.
+ sell_second: In every row that is left {he} picks {p} pounds.
? ask_x: How many seeds does {he} have now?
? ask_y: How many rows are there now?
? ask_m: How many pounds does {he} pick?
? ask_share: {He} plants the seeds in {k} equal rows. How many seeds are in each row? | Each row
    has # seeds.
~ The garden is {d} years old.
~ It rains on {d} days.
""")
