"""Situations of roads, trips, sport and things that move."""

from system2.tasks.situations import read_situations

TRAVEL = read_situations("""\
# bus
place = station, airport, museum, lake
x = There are # people on the bus.
> given: Early in the morning a city bus starts at the {place} with {s} people on board.
> given_less: At the {place} {s} people wait for a bus, but {n} of them give up and go home. All
    the others get on the empty bus.
> given_groups: A city bus starts at the {place}. {k} groups of {g} people get on the empty bus.
+ gain: At the bridge {n} people get on.
+ lose: At the park {n} people get off.
+ swap: At the school {n} people get off and {n2} people get on. | Then # people are on the bus. |
    There are # people on the bus.
+ halve: At the market half of the people get off.
+ gain_few: At the hotel {k} families of {k2} people get on. | The families are # people.
+ lose_third: At the river a third of the people get off. | So # people get off.
? ask_x: How many people are on the bus now?
? ask_room: The bus has {c} seats, and everyone sits. How many seats are free? | There are # free
    seats.
? ask_worth: Each of the people on the bus now pays {p} dollars. How many dollars do they pay in
    all? | They pay # dollars.
? ask_gain: How many more people are on the bus now than at the start? | That is # more people.
~ The bus is {d} years old.
~ The driver has worked for {d} months.

# train
x = There are # people on the train.
> given_groups: A train leaves the city in the morning. It has {k} cars, and there are {g} people
    in each car.
> given_two_groups: A train leaves the city in the morning. It has {k} long cars with {g} people
    in each and {k2} short cars with {g2} people in each. | The long cars hold # people. | The
    short cars hold # people.
+ lose: At the next stop {n} people get off.
+ gain: At a small town {n} people get on.
+ lose_quarter: At a big town a quarter of the people get off. | So # people get off.
+ gain_half: At the sea the train takes on half as many people as it has. | So # people get on.
+ gain_groups: {k} teams of {g} players get on. | The teams are # people.
? ask_x: How many people are on the train now?
? ask_loss: How many fewer people are on the train now than at the start? | That is # fewer
    people.
? ask_share: All the people now move to {k} cars, the same number in each. How many people are in
    each car? | Each car has # people.
? ask_left_over: Then {k} buses take {g} people each from the train. How many people stay on the
    train? | The buses take # people. | So # people stay on the train.
~ The train is {d} minutes late.
~ The ticket costs {d} dollars.

# parking
place = mall, hospital, stadium, hotel
x = There are # cars.
> given: In the morning there are {s} cars in the parking lot of a {place}.
> given_nested: A parking house at a {place} has {k} floors. On each floor there are {k2} rows
    with {k3} cars in each row. | There are # rows.
+ gain: Then {n} cars come in.
+ lose: Then {n} cars drive away.
+ lose_week: A storm comes, and {k} cars leave each hour for 7 hours. | So # cars leave.
+ gain_few: For {k} hours {k2} cars come in each hour. | So # cars come in.
+ lose_few: For {k} hours {k2} cars drive away each hour. | So # cars drive away.
+ double: A game starts near the {place}, and the number of cars doubles.
? ask_x: How many cars are in the lot now?
? ask_room: There are {c} places for cars in all. How many places are free now? | There are # free
    places.
? ask_worth: Each car in the lot now pays {p} dollars. How many dollars is that in all? | That is
    # dollars.
? ask_missing: There are {c} places for cars in all, and from now on {k} cars come each hour. In
    how many hours is the lot full? | There are # free places. | That takes # hours.
~ The lot is {d} years old.
~ There are {d} bikes at the door.

# road_trip
who = aunt, uncle, sister, brother
x = {A} is # miles from home.
y = The whole way is # miles.
> given_ride: {A} drives to see {his} {who} in a far town. The first part of the way takes {k}
    hours at {n} miles an hour.
> given_two_rides: {A} drives to see {his} {who} in a far town. {He} drives {k} hours at {n} miles
    an hour and then {k2} hours at {n2} miles an hour. | First {he} drives # miles. | Then {he}
    drives # miles.
+ gain: After a break {he} drives {n} miles more.
+ gain_few: On a small road {he} drives {k} hours at {k2} miles an hour. | On the small road {he}
    drives # miles.
+ times: The whole way is {k} times as long as what {he} has driven so far.
+ more: The whole way is {n} miles longer than what {he} has driven so far.
+ double_of: The whole way is twice as long as what {he} has driven so far.
+ gain_half: At night {he} drives half as many miles as {he} has driven before. | At night {he}
    drives # miles.
? ask_x: How many miles is {he} from {his} home now by this road?
? ask_y: How many miles long is the whole way?
? ask_behind: How many miles does {he} still have to drive? | {A} still has to drive # miles.
? ask_missing: The whole way is {c} miles, and {he} drives the rest at {k} miles an hour. How many
    hours does the rest take? | There are # miles left. | The rest takes # hours.
~ {His} car is {d} months old.
~ The town has {d} streets.

# hike
x = Then # miles are left.
> given: {A} and {B} go on a long hike in the hills. The whole path is {s} miles long.
> given_sum: {A} and {B} go on a long hike in the hills. The path goes {s} miles up and {n} miles
    down again.
> given_groups: {A} and {B} go on a long hike. The path has {k} parts of {g} miles each.
+ lose: Before lunch they walk {n} miles without a break.
+ lose_few: For {k} hours they walk {k2} miles each hour. | In these hours they walk # miles.
+ halve: With new shoes they walk half of the way that is left.
+ lose_third: In good weather they walk a third of the way that is left. | They walk # miles.
+ gain: A bridge is broken, so the rest of the path gets {n} miles longer.
? ask_x: How many miles do they still have to walk?
? ask_share: They walk the rest in {k} days, the same way every day. How many miles do they walk
    each day? | Each day they walk # miles.
? ask_worth: They drink {p} cups of water on every mile that is left. How many cups do they need?
    | They need # cups.
~ The bag of {A} weighs {d} pounds.
~ The highest hill is {d} feet high.

# running
x = {A} runs # miles.
y = {B} runs # miles.
z = {C} runs # miles.
> given_few: {A}, {B} and {C} run for their school this week. {A} runs {k} times, and {he} runs
    {k2} miles each time.
> given_week: {A}, {B} and {C} run for their school this month. {A} runs {g} miles every day of
    one week.
> given: {A}, {B} and {C} run for their school. In one month {A} runs {s} miles.
+ more: {B} runs {n} miles more than {A}.
+ times: {B} runs {k} times as far as {A}.
+ fewer: {B} runs {n} miles less than {A}.
+ less_than_twice: {B} runs {n} miles less than twice as far as {A}. | Twice as far is # miles.
+ third_between: {C} runs half as far as {A} and {B} together. | {A} and {B} run # miles.
+ third_of_y: {C} runs a third of what {B} runs.
+ third_more: {C} runs {n} miles more than {B}.
? ask_y: How many miles does {B} run?
? ask_z: How many miles does {C} run?
? ask_all: How many miles do the three of them run together? | {A} and {B} run # miles. | With {C}
    it is # miles.
? ask_both_more: How many miles must {C} run to be {n} miles ahead of {A} and {B} together? | {A}
    and {B} run # miles. | {C} must run # miles.
? ask_all_worth: For each mile the school gets {p} dollars. How many dollars do the three of them
    bring? | {A} and {B} run # miles. | With {C} it is # miles. | They bring # dollars.
~ {A} has {d} books at home.
~ {d} schools take part.

# ferry
x = In all there are # wheels.
> given_legs: A ferry takes cars and bikes over the river. In the first hour it takes {g} cars
    with 4 wheels each and {g2} bikes with 2 wheels each. | The cars have # wheels. | The bikes
    have # wheels.
> given_fours: A ferry takes cars and bikes over the river. In the first hour it takes {g} cars,
    and each car has 4 wheels.
+ gain_twos: In the next hour it takes {k} bikes with 2 wheels each. | These bikes have # wheels.
+ gain_fours: Later it takes {k} vans with 4 wheels each. | The vans have # wheels.
+ gain_sixes: Later it takes {k} trucks with 6 wheels each. | The trucks have # wheels.
+ gain_threes: Later it takes {k} carts with 3 wheels each. | The carts have # wheels.
? ask_x: How many wheels does the ferry take over the river in all?
? ask_gain: How many wheels does it take over after the first hour? | After the first hour it
    takes # wheels.
? ask_share: A worker can clean {k} wheels in a minute. How many minutes does it take to clean all
    these wheels? | That takes # minutes.
~ The river is {d} feet deep.
~ The ferry is {d} years old.

# plane
x = There are # free seats.
> given_nested: A plane has {k} parts. In each part there are {k2} rows, and each row has {k3}
    seats. At first all the seats are free. | There are # rows.
> given_groups: A small plane has {g} rows of seats, and there are {k} seats in each row. At first
    all the seats are free.
+ lose: A team takes {n} of the free seats.
+ lose_few: {k} families take {k2} of the free seats each. | The families take # seats.
+ regain: Then {n} people give their seats back, so these seats are free again.
+ halve: A travel group takes half of the free seats.
+ lose_third: A third of the free seats are sold on the last day. | So # seats are sold.
? ask_x: How many seats are free now?
? ask_worth: All the free seats are then sold for {p} dollars each. How many dollars is that? |
    That is # dollars.
? ask_loss: How many seats are taken now? | So # seats are taken.
? ask_both_rates: {n} people still want a seat, and each of them brings a friend. How many seats
    are free in the end? | They take # seats. | So # seats are free in the end.
~ The plane is {d} meters long.
~ The pilot has worked for {d} months.

# bike_week
! settled
x = {A} rides # miles.
y = {B} rides # miles.
> given_week: {A} rides a bike every day of the week. On each of the 7 days {he} rides {g} miles
    to work and back.
> given_two_groups: {A} rides a bike a lot. On each of {k} work days {he} rides {g} miles, and on
    each of {k2} free days {g2} miles. | On the work days {he} rides # miles. | On the free days
    {he} rides # miles.
+ gain: {He} also makes a tour of {n} miles.
+ more: {B} rides {n} miles more than {A}.
+ half_as: {B} rides half as far as {A}.
+ double_of: {B} rides twice as far as {A}.
+ lose_second: A part of {n} miles does not count for {B} and is taken off.
+ gain_second: {B} then rides {n} miles to the sea as well.
? ask_x: How many miles does {he} ride in all?
? ask_y: How many miles does {B} ride in all?
? ask_both: How many miles do they ride in all? | Together they ride # miles.
? ask_ahead: How many miles more does {A} ride than {B}? | {A} rides # miles more.
? ask_room: {A} wants to reach {c} miles. How many miles are missing? | There are # miles missing.
~ The bike of {A} is {d} months old.
~ {B} has {d} maps.

# hotel
x = This hotel has # free rooms.
y = The other hotel has # free rooms.
> given_groups: A hotel by the sea has {k} floors, and there are {g} rooms on each floor. In the
    morning all the rooms are free.
> given_less: A hotel by the sea has {s} rooms, and {n} of them are taken in the morning. All the
    others are free.
+ lose: Then guests take {n} of the free rooms.
+ regain: Then guests leave {n} rooms, which are free again.
+ lose_few: {k} buses bring guests, and each bus needs {k2} free rooms. | The buses need # rooms.
+ lose_quarter: The owner closes a quarter of the free rooms for repairs. | The owner closes #
    rooms.
+ halve: A wedding party takes half of the free rooms.
+ more: The hotel next door has {n} more free rooms than this one has now.
+ times: The hotel next door has {k} times as many free rooms as this one has now.
? ask_x: How many rooms of the hotel are free now?
? ask_y: How many rooms of the hotel next door are free?
? ask_both: How many free rooms do the two hotels have together? | Together there are # free
    rooms.
? ask_worth: Each free room has {p} chairs. How many chairs are in the free rooms of this hotel? |
    There are # chairs.
~ The hotel is {d} years old.
~ The sea is {d} feet away.

# harbor
color = red, white
other = blue, yellow
x = There are # boats.
y = So # boats are {color}.
z = So # boats are {other}.
> given: There are {s} boats in a harbor on a fine day. Each boat is either {color}, {other} or
    green.
> given_groups: In a harbor there are {k} docks with {g} boats at each dock. Each boat is either
    {color}, {other} or green.
+ second: {n} of the boats are {color}.
+ a_third: A third of the boats are {color}.
+ half_as: Half of the boats are {color}.
+ third_more: There are {n} more {other} boats than {color} boats.
+ third_half: There are half as many {other} boats as {color} boats.
+ third_fewer: There are {n} fewer {other} boats than {color} boats.
? ask_rest: How many green boats are there? | So # boats are {color} or {other}. | There are #
    green boats.
? ask_rest_worth: On each green boat there are {p} people. How many people are on the green boats?
    | So # boats are {color} or {other}. | There are # green boats. | There are # people on them.
? ask_z: How many {other} boats are there?
~ The harbor is {d} years old.
~ The tower at the harbor is {d} meters high.

# basketball
x = The team of {A} has # points.
y = The team of {B} has # points.
> given_two_costs: The team of {A} plays basketball against the team of {B}. The team of {A} makes
    {k} easy shots of {p} points each and {k2} hard shots of {p2} points each. | The easy shots
    give # points. | The hard shots give # points.
> given: The team of {A} plays basketball against the team of {B}. After the first part the team
    of {A} has {s} points.
+ gain_twos: Then the team of {A} makes {k} more shots for 2 points each. | These shots give #
    points.
+ gain_threes: Then the team of {A} makes {k} long shots for 3 points each. | The long shots give
    # points.
+ gain: Then the team of {A} makes {n} points in a row.
+ fewer: At this time the team of {A} is {n} points ahead of the team of {B}.
+ more: At this time the team of {A} is {n} points behind the team of {B}.
+ gain_second: Then the team of {B} makes {n} points in a row.
? ask_x: How many points does the team of {A} have in the end?
? ask_y: How many points does the team of {B} have in the end?
? ask_behind: By how many points does the team of {B} win? | The team of {B} wins by # points.
? ask_ahead: By how many points does the team of {A} win? | The team of {A} wins by # points.
? ask_both: How many points do both teams have together? | Together they have # points.
~ {d} people watch the game.
~ The hall is {d} years old.
""")
