"""Situations of school, reading, games and points."""

from system2.tasks.situations import read_situations

SCHOOL = read_situations("""\
# class_supplies
item = pencil, pen, crayon, notebook, brush|brushes
x = The class has # {items}.
> given_groups: A teacher buys {items} for the class. There are {k} boxes with {g} {items} in each
    box.
> given_dozens: A teacher buys {items} for the class. The shop sends {k} dozen {items} to the
    school.
> given_sum: A teacher looks for {items} in the class. There are {s} {items} on the shelf and {n}
    {items} in the desk.
+ lose: The children lose {n} {items} in the first month.
+ lose_few: Each of {k} children takes {k2} {items} home. | They take # {items} home.
+ gain: A parent gives {n} more {items} to the class.
+ halve: The teacher lends half of all the {items} to another class.
+ lose_third: A third of all the {items} are broken and are thrown away. | The broken ones are #
    {items}.
+ double: The school then doubles the number of {items} in the class.
? ask_x: How many {items} does the class have now?
? ask_share: The teacher shares all the {items} equally among {k} groups. How many {items} does
    each group get? | Each group gets # {items}.
? ask_room: The class needs {c} {items}. How many {items} are missing? | There are # {items}
    missing.
? ask_left_over: Then {k} children get {g} {items} each. How many {items} are left over? | The
    children get # {items}. | There are # {items} left over.
~ The school has {d} rooms.
~ The teacher lives {d} minutes from the school.

# library
x = The library has # books.
> given_nested: A school library has {k} cases. Each case has {k2} shelves with {k3} books on each
    shelf. | There are # shelves.
> given: A school library opens in the morning with {s} books on its shelves.
+ lose: Then the children borrow {n} books.
+ gain: Then other children bring back {n} books.
+ lose_groups: A class of {g} children borrows {k} books each. | The class borrows # books.
+ swap: The librarian throws {n} old books away and adds {n2} new books. | Then there are # books.
    | The library has # books.
+ gain_groups: A family gives {k} bags with {g} books each. | The bags hold # books.
+ lose_quarter: A quarter of all the books go to another school. | The other school gets # books.
? ask_x: How many books are in the library now?
? ask_loss: How many fewer books are there now than at the start? | That is # fewer books.
? ask_gain: How many more books are there now than at the start? | That is # more books.
? ask_room: The library has space for {c} books. How many more books can it take? | It can take #
    more books.
~ The library has {d} windows.
~ The librarian works {d} hours a month.

# school_trip
place = zoo, museum, lake, castle
x = The group has # people.
> given_groups: A school plans a trip to the {place}. There are {k} classes with {g} children in
    each class.
> given_sum: A school plans a trip to the {place}. There are {s} girls and {n} boys who want to
    go.
+ lose: Then {n} of the people are ill and stay at home.
+ gain: Then {n} teachers join the group.
+ lose_few: {k} families drive on their own and take {k2} people each out of the group. | The
    families take # people.
? ask_x: How many people go in the group?
? ask_share: They ride in {k} buses, and each bus takes the same number. How many people are in
    each bus? | Each bus has # people.
? ask_worth: A ticket for the {place} costs {p} dollars. How many dollars do the tickets for the
    group cost? | The tickets cost # dollars.
~ The way to the {place} is {d} miles.
~ The {place} is {d} years old.

# reading
x = Then # pages are left.
> given: {A} reads a story book for school. The whole book has {s} pages, and {he} starts on the
    first page.
> given_groups: {A} reads a story book for school. The book has {k} parts of {g} pages each, and
    {he} starts on the first page.
+ lose_few: For {k} days {he} reads {k2} pages a day. | In these days {he} reads # pages.
+ lose: On Sunday {he} reads {n} pages.
+ lose_third: On a train {he} reads a third of the pages that {he} still has to read. | On the
    train {he} reads # pages.
+ halve: On a rainy day {he} reads half of the pages that {he} still has to read.
+ lose_two: {He} reads {n} pages in the morning and {n2} pages at night. | Then {he} reads #
    pages.
? ask_x: How many pages does {he} still have to read?
? ask_share: From now on {he} reads {k} pages a day. In how many days does {he} finish the book? |
    That takes # days.
? ask_loss: How many pages has {he} read so far? | {A} has read # pages.
~ The book has {d} pictures.
~ {A} has {d} other books at home.

# stickers
item = sticker, card, stamp, shell
x = {A} has # {items}.
y = {B} has # {items}.
z = {C} has # {items}.
> given: {A}, {B} and {C} collect {items} at school. At the start {A} has {s} {items}.
> given_groups: {A}, {B} and {C} collect {items} at school. At the start {A} has {k} sheets with
    {g} {items} each.
+ more: {B} has {n} more {items} than {A}.
+ fewer: {B} has {n} fewer {items} than {A}.
+ times: {B} has {k} times as many {items} as {A}.
+ half_as: {B} has half as many {items} as {A}.
+ third_both: {C} has as many {items} as {A} and {B} together.
+ third_times: {C} has {k} times as many {items} as {B}.
+ third_fewer: {C} has {n} fewer {items} than {B}.
+ lose: Then {A} gives {n} {items} to a little brother.
+ lose_third_person: Then {C} loses {n} {items} on the way home.
? ask_y: How many {items} does {B} have now?
? ask_z: How many {items} does {C} have now?
? ask_both: How many {items} do {A} and {B} have together now? | Together they have # {items}.
? ask_all: How many {items} do the three children have in all now? | {A} and {B} have # {items}. |
    With {C} it is # {items}.
? ask_all_share: They put all their {items} together and share them equally. How many {items} does
    each of the three get? | {A} and {B} have # {items}. | With {C} it is # {items}. | Each gets #
    {items}.
~ The school has {d} teachers.
~ {B} lives {d} minutes from the school.

# quiz
! settled
x = {A} has # points.
y = {B} has # points.
> given_cost: {A} plays a quiz game against {B}. In the first round {he} gives {k} right answers
    and gets {p} points for each.
> given_two_costs: {A} plays a quiz game against {B}. {He} answers {k} easy questions for {p}
    points each and {k2} hard questions for {p2} points each. | The easy ones give # points. | The
    hard ones give # points.
+ lose_few: Then {he} gives {k} wrong answers and loses {k2} points for each. | The wrong answers
    cost # points.
+ gain: Then {he} gets {n} extra points for being fast.
+ double: In one round {he} doubles all {his} points.
+ halve: Bad luck takes away half of all {his} points.
+ more: In the end {B} has {n} points more than {A} has now.
+ less_than_twice: In the end {B} has {n} points less than twice as many as {A} has now. | Twice
    as many is # points.
+ more_than_half: In the end {B} has {n} points more than half as many as {A} has now. | Half as
    many is # points.
? ask_x: How many points does {A} have now?
? ask_y: How many points does {B} have in the end?
? ask_room: The record is {c} points. How many points is {A} below the record? | {A} is # points
    below the record.
? ask_both_more: The winner of the year has {n} points more than both together. How many points
    does the winner of the year have? | Together they have # points. | The winner has # points.
~ The quiz takes {d} minutes.
~ {d} people watch the quiz.

# art_paper
item = star, bird, flower, lamp, boat
x = There are # sheets.
y = There are # {items}.
> given: The art class makes paper {items} for a feast. On the table lie {s} sheets of paper.
> given_groups: The art class makes paper {items} for a feast. The teacher brings {k} packs with
    {g} sheets of paper each.
+ lose: The children use {n} sheets to practice.
+ lose_groups: Each of {g} children takes {k} sheets home. | They take # sheets.
+ gain: The teacher finds {n} more sheets.
+ pack: Every {item} takes {k} sheets, and the children use all the sheets.
+ multiply: The children cut each sheet into {k} smaller sheets.
+ lose_second: {n} of the {items} are torn and thrown away.
+ gain_second: Another class brings {n} {items}.
? ask_x: How many sheets are there now?
? ask_y: How many {items} are there now?
? ask_y_share: The children hang the {items} in {k} rooms, the same number in each. How many
    {items} hang in each room? | Each room has # {items}.
? ask_y_worth: They sell all the {items} for {p} dollars each. How many dollars do they get? |
    They get # dollars.
~ The feast is in {d} days.
~ The art room is {d} feet long.

# test_points
x = The first test gives # points.
y = The second test gives # points.
z = The third test gives # points.
> given: {A} takes three tests at school this month. In the first test {he} gets {s} points.
> given_less: {A} takes three tests at school this month. The first test has {s} points in all,
    and {he} misses {n} of these points.
+ more: In the second test {he} gets {n} points more than in the first.
+ fewer: In the second test {he} gets {n} points less than in the first.
+ double_of: In the second test {he} gets twice as many points as in the first.
+ third_more: In the third test {he} gets {n} points more than in the second.
+ third_fewer: In the third test {he} gets {n} points less than in the second.
+ third_between: In the third test {he} gets half as many points as in the first two together. |
    The first two tests give # points.
? ask_both: How many points does {he} get in the first two tests together? | Together it is #
    points.
? ask_all: How many points does {he} get in all three tests? | The first two tests give # points.
    | All three give # points.
? ask_all_share: What is the average of {his} points in the three tests? | The first two tests
    give # points. | All three give # points. | The average is # points.
? ask_all_missing: {He} needs {c} points in all to win a prize. How many points are missing? | The
    first two tests give # points. | All three give # points. | There are # points missing.
~ Each test takes {d} minutes.
~ {A} has {d} books about the tests.

# school_lunch
food = egg, pancake, taco, sandwich|sandwiches, dumpling
x = There are # people who eat.
y = The cook makes # {foods}.
> given_sum: The school kitchen cooks lunch today. {s} children want {foods} and {n} teachers want
    {foods} too.
> given_groups: The school kitchen cooks lunch today. {k} classes with {g} children each want
    {foods}.
+ gain: Then {n} guests come and want {foods} too.
+ lose: Then {n} of the people say that they are not hungry.
+ per_head: Every one of the people who eat gets 2 {foods}.
+ gain_second: The cook makes {n} extra {foods}, just to be safe.
+ lose_second: The kitchen already has {n} of these {foods} from yesterday and cooks only the
    rest.
? ask_x: How many people eat {foods}?
? ask_y: How many {foods} does the cook have to make?
? ask_y_share: The cook can fit {k} {foods} on a tray. How many full trays does the cook fill? |
    The cook fills # trays.
? ask_worth: Each of the people who eat pays {p} dollars. How many dollars do they pay in all? |
    They pay # dollars.
~ The kitchen has {d} pots.
~ The school is {d} years old.

# choir
item = flower, cookie, apple
x = There are # singers.
> given_groups: A school choir gives a concert in the hall. The singers stand in {k} rows with {g}
    singers in each row.
> given_two_groups: A school choir gives a concert in the hall. It has {k} rows of {g} girls and
    {k2} rows of {g2} boys. | There are # girls. | There are # boys.
+ lose: {n} singers are ill and go home.
+ gain: {n} new singers join the choir.
+ gain_half: Another choir comes with half as many singers as sing here now, and they all sing as
    one. | The other choir has # singers.
+ lose_third: A third of the singers sit down to rest and do not sing. | So # singers sit down.
? ask_x: How many singers sing now?
? ask_share: They now stand in {k} equal rows. How many singers are in each row? | Each row has #
    singers.
? ask_worth: Each singer gets {p} {items}. How many {items} is that in all? | That is # {items}.
? ask_room: The stage has room for {c} singers. How many more singers could stand there? | There
    is room for # more singers.
~ The concert has {d} songs.
~ The hall is {d} meters long.

# class_parts
way = walk, come by car
other = come by bus, come by bike
x = There are # children.
y = So # children {way}.
z = So # children {other}.
> given: A school asks {s} children how they come to school. Each child gives one answer.
> given_groups: A school asks {k} classes of {g} children how they come to school. Each child
    gives one answer.
+ half_as: Half of the children {way}.
+ a_third: A third of the children {way}.
+ second: {n} of the children {way}.
+ third_fewer: {n} fewer children {other} than {way}.
+ third_more: {n} more children {other} than {way}.
+ third_times: {k} times as many children {other} as {way}.
? ask_rest: All the other children come by train. How many children come by train? | So # children
    {way} or {other}. | So # children come by train.
? ask_rest_twice: Of all the other children half come by train and half by boat. How many children
    come by boat? | So # children {way} or {other}. | There are # others. | So # children come by
    boat.
? ask_z: How many children {other}?
~ The school has {d} teachers.
~ The school day starts {d} minutes late.

# homework
! settled
subject = math, science, music
x = {A} needs # minutes.
y = {B} needs # minutes.
> given_cost: {A} does homework after school. {He} has {k} {subject} problems, and each takes
    {him} {p} minutes.
> given_two_costs: {A} does homework after school. {He} does {k} {subject} problems of {p} minutes
    each and {k2} word lists of {p2} minutes each. | The problems take # minutes. | The lists take
    # minutes.
+ gain: Then {he} reads for {n} minutes.
+ gain_cost: Then {he} draws {k} maps in {p} minutes each. | The maps take # minutes.
+ lose: {B} helps {him}, which saves {n} minutes.
+ more: {B} needs {n} minutes more than {A} for all the work.
+ fewer: {B} needs {n} minutes less than {A} for all the work.
+ half_as: {B} needs half the time of {A} for all the work.
? ask_x: How many minutes does {A} work in all?
? ask_y: How many minutes does {B} need?
? ask_both: How many minutes do {A} and {B} need when their times are added? | Together it is #
    minutes.
? ask_room: {A} has {c} minutes until dinner. How many minutes are left when {he} is done? | Then
    # minutes are left.
~ The house of {A} is {d} years old.
~ {B} has {d} pens.
""")
