"""Situations of home, family, food and hobbies."""

from system2.tasks.situations import read_situations

HOME = read_situations("""\
# recipe
item = cake, waffle, muffin
x = {A} has to buy # eggs.
> given_few: {A} bakes {items} for a big party. {He} makes {k} {items}, and each {item} needs {k2}
    eggs.
> given_two_few: {A} bakes for a big party. {He} makes {k} {items} with {k2} eggs each and {k3}
    pies with {k4} eggs each. | The {items} need # eggs. | The pies need # eggs.
+ gain: For the cream {he} needs {n} eggs more.
+ gain_few: {He} also makes {k} breads with {k2} eggs each. | The breads need # eggs.
+ double: Just to be safe, {he} then wants to buy twice as many eggs.
+ lose: {He} has {n} eggs at home, so {he} buys only the rest of what {he} needs.
? ask_x: How many eggs does {he} have to buy?
? ask_share: Eggs come in boxes of {k}. How many boxes does {he} have to buy? | {He} buys # boxes.
? ask_room: The shop has {c} eggs. How many eggs does the shop have after {he} buys {his} eggs? |
    The shop has # eggs left.
? ask_worth: Each egg costs {p} cents. How many cents does {he} pay? | {A} pays # cents.
~ The oven is {d} months old.
~ The party is in {d} days.

# marbles
x = {A} has # marbles.
y = {B} has # marbles.
> given_groups: {A} and {B} play with marbles after school. {A} has {k} bags with {g} marbles in
    each bag.
> given: {A} and {B} play with marbles after school. {A} starts with {s} marbles.
+ half_as: {B} has half as many marbles as {A}.
+ times_of: {A} has {k} times as many marbles as {B}.
+ more: {B} has {n} more marbles than {A}.
+ hand_over: Then in a game {B} wins {n} marbles from {A}.
+ take_over: Then in a game {A} wins {n} marbles from {B}.
+ lose: Then {A} loses {n} marbles in the grass.
+ gain_second: Then {B} finds {n} marbles in a box.
? ask_y: How many marbles does {B} have now?
? ask_ahead: How many more marbles does {A} have now than {B}? | {A} has # more marbles.
? ask_behind: How many more marbles does {B} have now than {A}? | {B} has # more marbles.
? ask_both: How many marbles do they have together now? | Together they have # marbles.
? ask_share_both: They put all their marbles into {k} equal bags. How many marbles are in each
    bag? | Together they have # marbles. | Each bag has # marbles.
~ {B} is {d} months older than {A}.
~ They play for {d} minutes.

# coins
x = {A} has # coins.
m = {A} has # dollars.
> given_groups: {A} collects old coins from many lands. {He} has {k} albums with {g} coins in each
    album.
> given_sum: {A} collects old coins from many lands. {He} has {s} silver coins and {n} gold coins.
+ gain: For {his} birthday {he} gets {n} coins.
+ lose: {He} gives {n} coins to a museum.
+ gain_half: {His} uncle gives {him} half as many coins as {he} already has. | The uncle gives
    {him} # coins.
+ lose_third: {He} finds that a third of {his} coins are false and throws them out. | The false
    ones are # coins.
+ gain_few: On each of {k} trips {he} buys {k2} coins. | On the trips {he} buys # coins.
+ sell: {He} then sells all {his} coins for {p} dollars each.
+ lose_measure: Of this money {he} spends {n} dollars on a coat.
+ halve_measure: {He} puts half of this money in the bank and keeps the other half.
? ask_x: How many coins does {he} have now?
? ask_m: How many dollars of this money does {he} have in hand now?
? ask_share: {He} puts all {his} coins into {k} boxes, the same number in each. How many coins are
    in each box? | Each box has # coins.
? ask_gain: How many more coins does {he} have now than at the start? | That is # more coins.
~ The oldest coin weighs {d} grams.
~ {A} has a book about coins with {d} pages.

# puzzle
x = There are # pieces on the floor.
> given_groups: {A} makes a big puzzle with {his} family. It has {k} parts of {g} pieces each, and
    all pieces lie on the floor.
> given_groups: {A} makes a big puzzle with {his} family. It has {k} rows of {g} pieces, and all
    pieces lie on the floor.
+ lose: One evening {he} puts {n} pieces in place.
+ lose_few: Then {k} children put {k2} pieces in place each. | The children place # pieces.
+ lose_two: {His} mother places {n} pieces and {his} father places {n2} pieces. | The parents
    place # pieces.
+ halve: On a rainy day they place half of the pieces that are left.
+ regain: The cat pushes {n} placed pieces back on the floor.
? ask_x: How many pieces are still on the floor?
? ask_share: From now on {he} places {k} pieces each minute. In how many minutes is the puzzle
    done? | That takes # minutes.
? ask_loss: How many pieces are in place now? | So # pieces are in place.
~ The puzzle costs {d} dollars.
~ The box of the puzzle is {d} years old.

# socks
x = There are # single socks.
> given_pairs: {A} washes the socks of the whole family. {He} puts {g} pairs of socks into the
    wash.
> given_pairs_people: {A} washes the socks of the whole family. Each of {k} people gives {him}
    {k2} pairs of socks. | {A} gets # pairs.
+ lose: The machine eats {n} single socks.
+ gain: {He} finds {n} single socks under the beds and adds them.
+ lose_twos: {He} throws {k} pairs of old socks away. | The old pairs are # socks.
+ gain_twos: {He} adds {k} new pairs of socks. | The new pairs are # socks.
+ lose_third: A third of all the socks are still wet and stay out. | The wet ones are # socks.
? ask_x: How many single socks does {he} have now?
? ask_half: {He} puts all the socks together in pairs. How many pairs does {he} get? | {A} gets #
    pairs.
? ask_share: {He} lays all the single socks in {k} equal piles. How many socks are in each pile? |
    Each pile has # socks.
~ The wash takes {d} minutes.
~ The machine is {d} months old.

# balloons
x = There are # balloons.
> given_rates: {A} and {B} blow up balloons for a party. {A} makes {k} balloons a minute, {B}
    makes {k2} a minute, and both work for {k3} minutes. | In a minute they make # balloons.
> given_groups: {A} and {B} blow up balloons for a party. They open {k} packs with {g} balloons in
    each pack and use them all.
+ lose: Then {n} of the balloons break.
+ lose_few: Each of {k} children takes {k2} balloons away. | The children take # balloons.
+ gain: A friend brings {n} balloons more.
+ lose_quarter: A quarter of all the balloons fly away. | So # balloons fly away.
+ halve: They give half of all the balloons to another party.
? ask_x: How many balloons do they have for the party now?
? ask_share: They tie all the balloons to {k} chairs, the same number to each. How many balloons
    are at each chair? | Each chair gets # balloons.
? ask_room: They want to have {c} balloons. How many balloons are missing? | There are # balloons
    missing.
? ask_missing: They want to have {c} balloons, and balloons come in packs of {k}. How many packs
    do they have to open? | There are # balloons missing. | They open # packs.
~ {d} guests come to the party.
~ The party takes {d} minutes.

# pizza
x = There are # slices.
> given_few: A family orders {k} pizzas for a feast. Every pizza is cut into {k2} slices.
> given_two_few: A family orders {k} large pizzas with {k2} slices each and {k3} small pizzas with
    {k4} slices each. | The large pizzas have # slices. | The small pizzas have # slices.
+ lose_few: {k} children eat {k2} slices each. | The children eat # slices.
+ lose: The parents eat {n} slices in all.
+ halve: The neighbors come and get half of all the slices that are there.
+ gain_few: Then {k} more pizzas come, cut into {k2} slices each. | The new pizzas have # slices.
+ lose_twos: {k} friends eat 2 slices each. | The friends eat # slices.
? ask_x: How many slices are there now?
? ask_share: {k} people then share all the slices that are there equally. How many slices does
    each of them get? | Each gets # slices.
? ask_loss: How many fewer slices are there now than at first? | That is # fewer slices.
~ A large pizza costs {d} dollars.
~ They wait {d} minutes for the food.

# moving_boxes
! settled
x = The load of {A} weighs # pounds.
y = The load of {B} weighs # pounds.
> given_sorts: {A} moves to a new home and loads a van. {He} loads {k} boxes of {g} pounds each
    and a table of {n2} pounds. | The boxes weigh # pounds.
> given_two_groups: {A} moves to a new home and loads a van. {He} loads {k} boxes of {g} pounds
    each and {k2} chairs of {g2} pounds each. | The boxes weigh # pounds. | The chairs weigh #
    pounds.
+ gain: {He} puts a bed of {n} pounds into the van.
+ lose: {He} finds that {n} pounds in the van are old things and throws them out.
+ gain_few: {He} also loads {k} bags of {k2} pounds each. | The bags weigh # pounds.
+ halve: {He} drives to the new home and unloads half of the weight there.
+ more: The van of {B} has a load that is {n} pounds heavier than that of {A}.
? ask_x: How many pounds does the load of {A} weigh now?
? ask_y: How many pounds does the load of {B} weigh?
? ask_room: The van can carry {c} pounds. How many more pounds can {A} load? | {A} can load # more
    pounds.
? ask_both: How many pounds do the loads of both vans weigh together? | Together they weigh #
    pounds.
~ The new home is {d} miles away.
~ The new home has {d} windows.

# aquarium
item = fish|fish, snail, crab, turtle
x = {A} has # {items}.
> given_groups: {A} keeps {items} at home in glass tanks. {He} has {k} tanks, and there are {g}
    {items} in each tank.
> given: {A} keeps {items} at home in glass tanks. At the start of the year {he} has {s} {items}.
+ gain: {He} buys {n} new {items} at a shop.
+ lose: {He} gives {n} {items} to {B}.
+ double: Over the summer the number of {his} {items} doubles.
+ lose_few: {He} lets {k} friends take {k2} {items} each. | The friends take # {items}.
+ multiply: After some years {he} has {k} times as many {items} as before.
+ lose_quarter: {He} puts a quarter of {his} {items} into the pond of an aunt. | The aunt gets #
    {items}.
? ask_x: How many {items} does {A} have at home now?
? ask_share: {He} now wants {k} {items} in each tank. How many tanks does {he} need? | {A} needs #
    tanks.
? ask_worth: Each of {his} {items} eats {p} grams of food a week. How many grams do they eat in a
    week? | They eat # grams.
? ask_gain: How many more {items} does {A} have now than at the start? | That is # more {items}.
~ The water is {d} degrees warm.
~ The largest tank weighs {d} pounds.

# water_tank
x = The tank holds # liters.
> given_net: A garden tank is empty. A pipe fills it with {g} liters an hour, but a hole loses {k}
    liters an hour. This goes on for {k2} hours. | Each hour the tank gains # liters.
> given_rates: A garden tank is empty. One pipe fills it with {k} liters an hour and another with
    {k2} liters an hour. Both run for {k3} hours. | Each hour the tank gains # liters.
> given: A garden tank holds {s} liters of water at the start of a dry month.
+ lose_few: Then {A} takes {k} cans of {k2} liters each out of the tank. | The cans hold # liters.
+ gain: Then rain brings {n} liters into the tank.
+ lose: The flowers need {n} liters from the tank.
+ lose_third: The sun dries up a third of all the water. | The tank loses # liters.
+ double: A storm doubles the water in the tank.
? ask_x: How many liters are in the tank now?
? ask_share: From now on {A} takes {k} liters a day. After how many days is the tank empty? | The
    tank lasts # days.
? ask_room: The tank can hold {c} liters. How many more liters can it take? | It can take # more
    liters.
? ask_missing: The tank can hold {c} liters, and {A} adds {k} liters a minute. How many minutes
    does it take to fill the tank? | It can take # more liters. | That takes # minutes.
~ The tank is {d} years old.
~ The garden has {d} trees.

# beads
item = ring, chain, necklace
x = {A} has # beads.
y = {A} can sell # {items}.
m = {A} has # dollars.
> given_two_groups: {A} makes {items} from glass beads. {He} has {k} bags with {g} blue beads each
    and {k2} bags with {g2} red beads each. | There are # blue beads. | There are # red beads.
> given_groups: {A} makes {items} from glass beads. {He} has {k} boxes with {g} beads in each box.
+ lose: {He} loses {n} beads on the floor.
+ gain: {He} gets {n} more beads from {his} sister.
+ lose_few: {He} gives {k} friends {k2} beads each. | The friends get # beads.
+ pack: {He} uses all {his} beads, and each {item} takes {k} beads.
+ lose_second: {He} keeps {n} {items} for {his} family.
+ sell_second: {He} sells every {item} that {he} does not keep for {p} dollars.
+ lose_measure: {He} has to pay {n} dollars for the string.
? ask_x: How many beads does {he} have now?
? ask_y: How many {items} can {he} sell?
? ask_m: How many dollars does {he} have from the {items}?
? ask_left_over: {He} makes {k} {items} with {g} beads each. How many beads are left over? | They
    take # beads. | There are # beads left over.
~ {A} has {d} books at home.
~ One string is {d} feet long.

# blocks
x = The tower of {A} has # blocks.
y = The tower of {B} has # blocks.
> given: {A} and {B} build towers from wooden blocks. {A} uses {s} blocks for the first tower.
> given_groups: {A} and {B} build towers from wooden blocks. The tower of {A} has {k} floors with
    {g} blocks on each floor.
+ lose: Then the wind takes {n} blocks off the tower of {A}.
+ times: {B} builds a tower with {k} times as many blocks as that of {A}.
+ more_than_half: {B} builds a tower with {n} blocks more than half as many as that of {A}. | Half
    as many is # blocks.
+ fewer: {B} builds a tower with {n} blocks fewer than that of {A}.
+ lose_second: Then a dog runs by, and {n} blocks fall off the tower of {B}.
+ gain_second: {B} then adds {n} blocks.
? ask_y: How many blocks are in the tower of {B} now?
? ask_both: How many blocks are in both towers together? | Together there are # blocks.
? ask_behind: How many more blocks are in the tower of {B} now than in that of {A}? | That is #
    more blocks.
? ask_both_room: They have {c} blocks in all. How many blocks are in no tower? | The towers have #
    blocks. | There are # other blocks.
? ask_share_both: They break both towers down and put the blocks in {k} equal boxes. How many
    blocks are in each box? | The towers have # blocks. | Each box has # blocks.
~ The highest tower is {d} feet high.
~ The blocks are {d} years old.

# ages
x = {A} is # years old.
y = {B} is # years old.
z = {C} is # years old.
> given_age: {A}, {B} and {C} talk about how old they are. {A} is {g} years old.
> given_age_sum: {A}, {B} and {C} talk about how old they are. {A} will be {g} years old in {k}
    years.
> given_age_ago: {A}, {B} and {C} talk about how old they are. {k} years ago {A} was {g} years
    old.
+ double_of: {B} is twice as old as {A}.
+ thrice_of: {B} is 3 times as old as {A}.
+ more_k: {B} is {k} years older than {A}.
+ third_more_k: {C} is {k} years older than {B}.
+ third_fewer_k: {C} is {k} years younger than {B}.
+ third_both: {C} is as old as {A} and {B} together.
+ third_half: {C} is half as old as {B}.
? ask_y: How many years old is {B} now?
? ask_z: How many years old is {C} now?
? ask_z_later: How many years old will {C} be {k} years from now? | Then {C} is # years old.
? ask_all: What is the sum of the ages of all three now? | {A} and {B} have # years. | With {C} it
    is # years.
? ask_all_later: What will be the sum of the three ages {k} years from now? | {A} and {B} have #
    years. | With {C} it is # years. | They gain # years. | Then the sum is # years.
~ Their house has {d} windows.
~ They talk for {d} minutes.

# candy
item = candy|candies, nut, grape, cookie
x = At first there are # {items}.
y = The bag of {C} has # {items}.
> given_undo_two: {A} has a bag of {items}. {He} eats {n} {items}, gives {n2} {items} to {B}, and
    then {s} {items} are left in the bag. | Before {B} gets some there are # {items}. | At first
    there are # {items}.
> given_undo_half: {A} has a bag of {items}. {He} gives half of them to {B}. Then {he} eats {n}
    {items}, and {s} {items} are left in the bag. | Before {he} eats there are # {items}. | At
    first there are # {items}.
> given_undo_share: {A} has a bag of {items}. {He} keeps {n} {items} and shares all the others
    equally among {k} friends, so that each friend gets {g} {items}. | The friends get # {items}.
    | At first there are # {items}.
+ more: {C} has a bag with {n} {items} more than the bag of {A} had at first.
+ double_of: {C} has a bag with twice as many {items} as the bag of {A} had at first.
+ half_as: {C} has a bag with half as many {items} as the bag of {A} had at first.
+ lose_second: Then {C} eats {n} {items}.
+ gain_second: Then {C} buys {n} {items} more and puts them into the bag.
? ask_x: How many {items} were in the bag of {A} at first?
? ask_worth: Each of the {items} costs {p} cents. How many cents did the full bag of {A} cost? |
    The bag cost # cents.
? ask_y: How many {items} are in the bag of {C} now?
? ask_y_share: The bag of {C} is shared equally among {k} children. How many {items} does each
    child get? | Each child gets # {items}.
~ {B} is {d} months older than {A}.
~ The shop sells {d} sorts of sweets.

# rope
x = The rope is # feet long.
> given: {A} has a rope that is {s} feet long. {He} needs it for work in the garden.
> given_groups: {A} ties {k} short ropes of {g} feet each into one long rope for work in the
    garden.
+ lose: {He} cuts off {n} feet for a swing.
+ lose_few: {He} cuts off {k} pieces of {k2} feet each. | The pieces are # feet.
+ halve: {He} cuts the rope in two equal parts and gives one part away.
+ gain: {He} ties a rope of {n} feet to it.
+ lose_quarter: A quarter of the rope is old, so {he} cuts it off. | The old part is # feet.
? ask_x: How many feet long is the rope of {A} now?
? ask_share: {He} cuts all the rope into pieces of {k} feet. How many pieces does {he} get? | {A}
    gets # pieces.
? ask_room: {He} needs {c} feet of rope. How many feet are missing? | There are # feet missing.
? ask_loss: How many feet shorter is the rope now than at the start? | It is # feet shorter.
~ The garden has {d} trees.
~ The rope costs {d} dollars.
""")
