"""Situations of buying, selling, earning and saving."""

from system2.tasks.situations import Situation, event

TRADE = {
    "market_stall": Situation(
        openings=(
            event(
                "given",
                "{A} sells {items} at the market. In the morning {he} has {s} fresh {items}.",
            ),
            event(
                "given_groups",
                "{A} sells {items} at the market. In the morning {he} brings {k} boxes "
                "with {g} {items} in each box.",
            ),
        ),
        events=(
            event("lose", "Then {he} sells {n} {items} to a cook."),
            event("gain", "A farmer brings {him} {n} more {items}."),
            event(
                "lose_groups",
                "Later {k} families buy {g} {items} each.",
                "The families buy # {items}.",
            ),
            event("halve", "A school comes and buys half of all {his} {items}."),
            event(
                "lose_third",
                "A third of {his} {items} are bad and {he} throws the bad ones away.",
                "The bad ones are # {items}.",
            ),
            event("sell", "At the end {he} sells all {his} {items} for {p} dollars each."),
            event("lose_measure", "From this money {he} pays {n} dollars for the stall."),
        ),
        questions=(
            event("ask_x", "How many {items} does {he} have now?"),
            event("ask_m", "How many dollars does {he} have then?"),
            event(
                "ask_worth",
                "Each {item} costs {p} dollars. How many dollars are all {his} {items} "
                "worth now?",
                "They are worth # dollars.",
            ),
            event(
                "ask_loss",
                "How many fewer {items} does {he} have now than in the morning?",
                "That is # fewer {items}.",
            ),
        ),
        says={"x": "{A} has # {items}.", "m": "{A} has # dollars."},
        words={"item": ("apple", "melon", "egg", "orange", "flower")},
        distractors=(
            "The market is {d} years old.",
            "There are {d} other stalls at the market.",
        ),
    ),
    "savings": Situation(
        openings=(
            event("given", "{A} is saving money for a new bike. {He} starts with {s} dollars."),
            event(
                "given_sum",
                "{A} is saving money for a new bike. {He} gets {s} dollars from {his} aunt and "
                "{n} dollars from {his} uncle.",
            ),
        ),
        events=(
            event(
                "gain_groups",
                "For {k} weeks {he} saves {g} dollars each week.",
                "In these weeks {he} saves # dollars.",
            ),
            event("lose", "{He} spends {n} dollars on a book."),
            event("double", "Then {his} mother doubles {his} money."),
            event("more", "By now {B} has {n} dollars more than {A}."),
            event("times", "By now {B} has {k} times as much money as {A}."),
            event("half_as", "By now {B} has half as much money as {A}."),
            event("lose_second", "Then {B} spends {n} dollars on a gift."),
        ),
        questions=(
            event("ask_x", "How many dollars does {A} have now?"),
            event("ask_y", "How many dollars does {B} have now?"),
            event(
                "ask_both",
                "How many dollars do {A} and {B} have together?",
                "Together they have # dollars.",
            ),
            event(
                "ask_room",
                "The bike costs {c} dollars. How many more dollars does {A} need?",
                "{A} needs # more dollars.",
            ),
            event(
                "ask_missing",
                "The bike costs {c} dollars. From now on {A} saves {k} dollars each week. "
                "After how many weeks can {he} buy the bike?",
                "{A} needs # more dollars.",
                "That takes # weeks.",
            ),
        ),
        says={"x": "{A} has # dollars.", "y": "{B} has # dollars."},
        distractors=("{A} is {d} years old.", "The shop with the bike is {d} miles away."),
    ),
    "bakery": Situation(
        openings=(
            event(
                "given_groups",
                "In the morning a baker bakes {k} trays of {items}. There are {g} {items} on "
                "each tray.",
            ),
            event(
                "given_two_groups",
                "A baker bakes {k} large trays with {g} {items} each and {k2} small trays with "
                "{g2} {items} each.",
                "The large trays hold # {items}.",
                "The small trays hold # {items}.",
            ),
        ),
        events=(
            event("lose", "A hotel buys {n} {items} from the baker."),
            event("gain", "Then the baker bakes {n} more {items}."),
            event(
                "gain_dozens",
                "The helper brings {k} dozen {items} more from the oven.",
                "The helper brings # {items}.",
            ),
            event("halve", "The baker sends half of all the {items} to another shop."),
            event(
                "lose_quarter",
                "A quarter of all the {items} are burnt and go to the birds.",
                "The burnt ones are # {items}.",
            ),
            event("pack", "The baker packs all the {items} into boxes of {k}."),
            event("lose_second", "{n} of the full boxes go to a party."),
            event("sell_second", "The baker sells every box for {p} dollars."),
        ),
        questions=(
            event("ask_x", "How many {items} does the baker have now?"),
            event("ask_y", "How many full boxes does the baker have now?"),
            event("ask_m", "How many dollars does the baker get?"),
            event(
                "ask_left_over",
                "Then {k} people buy {g} {items} each. How many {items} are left over?",
                "They buy # {items}.",
                "There are # {items} left over.",
            ),
        ),
        says={
            "x": "The baker has # {items}.",
            "y": "There are # full boxes.",
            "m": "The baker gets # dollars.",
        },
        words={"item": ("roll", "cake", "pie", "loaf|loaves", "cookie")},
        distractors=(
            "The baker gets up {d} minutes before the sun.",
            "The bakery is {d} years old.",
        ),
    ),
    "shopping_bill": Situation(
        openings=(
            event(
                "given_cost",
                "{A} goes to a shop to get ready for school. {He} buys {k} {items} for {p} "
                "dollars each.",
            ),
            event(
                "given_two_costs",
                "{A} goes to a shop. {He} buys {k} {items} for {p} dollars each and {k2} maps "
                "for {p2} dollars each.",
                "The {items} cost # dollars.",
                "The maps cost # dollars.",
            ),
        ),
        events=(
            event("gain", "{He} also buys a bag for {n} dollars."),
            event(
                "gain_cost",
                "{He} also buys {k} pens for {p} dollars each.",
                "The pens cost # dollars.",
            ),
            event("lose", "The shop takes {n} dollars off {his} bill."),
            event("halve", "Today is a sale, so the shop halves {his} bill so far."),
            event("more", "The bill of {B} at the same shop is {n} dollars more than that of {A}."),
            event("half_as", "The bill of {B} at the same shop is half that of {A}."),
        ),
        questions=(
            event("ask_x", "How many dollars does {he} have to pay?"),
            event("ask_y", "How many dollars does {B} have to pay?"),
            event(
                "ask_room",
                "{He} pays with {c} dollars. How many dollars does {he} get back?",
                "{A} gets back # dollars.",
            ),
            event(
                "ask_share",
                "{His} {k} aunts share the bill in equal parts. How many dollars does each "
                "aunt pay?",
                "Each aunt pays # dollars.",
            ),
            event(
                "ask_both",
                "How many dollars do the two of them pay in all?",
                "In all they pay # dollars.",
            ),
        ),
        says={"x": "The bill of {A} is # dollars.", "y": "The bill of {B} is # dollars."},
        words={"item": ("book", "notebook", "ruler", "brush|brushes", "cap")},
        distractors=(
            "The shop has {d} windows.",
            "{He} walks {d} minutes to the shop.",
        ),
    ),
    "book_shop": Situation(
        openings=(
            event(
                "given_nested",
                "A book shop has {k} rooms. Each room has {k2} shelves, and each shelf holds "
                "{g} books.",
                "There are # shelves.",
            ),
            event(
                "given_groups",
                "A book shop opens with {k} full shelves, and each shelf holds {g} books.",
            ),
        ),
        events=(
            event("gain", "A truck brings {n} new books."),
            event("lose", "The shop sells {n} books in the first week."),
            event(
                "lose_week",
                "For one week the shop sells {k} books every day.",
                "In the week it sells # books.",
            ),
            event("halve", "Half of all the books in the shop go to a library."),
            event("split", "{n} of the books are for children and the rest are for adults."),
            event("split_third", "A third of the books are for children."),
            event(
                "gain_groups",
                "The owner buys {k} boxes with {g} books each.",
                "The boxes hold # books.",
            ),
        ),
        questions=(
            event("ask_x", "How many books are in the shop now?"),
            event(
                "ask_y_worth",
                "The shop sells all the books for {which} at {p} dollars each. How many "
                "dollars does it get?",
                "It gets # dollars.",
            ),
            event(
                "ask_share",
                "The owner puts all the books in the shop on {k} tables, the same number on "
                "each. How many books are on each table?",
                "Each table has # books.",
            ),
            event(
                "ask_gain",
                "How many more books does the shop have now than at the start?",
                "That is # more books.",
            ),
        ),
        says={"x": "The shop has # books.", "y": "There are # such books."},
        distractors=("The shop is {d} years old.", "The longest book has {d} pages."),
    ),
    "lemonade": Situation(
        openings=(
            event(
                "given_groups",
                "{A} makes lemonade to sell in the street. {He} fills {k} jugs, and each jug "
                "is enough for {g} cups.",
            ),
            event("given", "{A} makes {s} cups of lemonade to sell in the street."),
        ),
        events=(
            event("lose", "{He} drinks or spills {n} cups."),
            event("gain", "{His} father makes {n} more cups."),
            event(
                "lose_groups",
                "{He} gives {k} cups to each of {k2} neighbors for free.",
                "The neighbors get # cups.",
            ),
            event("sell", "{He} sells all {his} cups for {p} dollars each."),
            event("lose_measure", "{He} has to pay {n} dollars for the lemons."),
            event(
                "lose_measure_groups",
                "{He} has to pay for {k} bags of sugar at {p} dollars each.",
                "The sugar costs # dollars.",
            ),
            event("halve_measure", "{He} gives half of {his} money to {B}, who helps."),
        ),
        questions=(
            event("ask_x", "How many cups can {he} sell?"),
            event("ask_m", "How many dollars does {A} have in the end?"),
            event(
                "ask_share_measure",
                "{A} puts the money into {k} equal piles. How many dollars are in each pile?",
                "Each pile has # dollars.",
            ),
        ),
        says={"x": "{A} has # cups.", "m": "{A} has # dollars."},
        distractors=("The street has {d} houses.", "It is {d} degrees warm."),
    ),
    "shoe_shop": Situation(
        openings=(
            event(
                "given_two",
                "Two shoe shops start the week with a full store. The north shop has {s} pairs "
                "of {items} and the south shop has {s2} pairs.",
            ),
            event(
                "given_more",
                "Two shops sell {items}. The north shop has {s} pairs, and the south shop has "
                "{n} pairs more than the north shop.",
            ),
            event(
                "given_times",
                "Two shops sell {items}. The north shop has {s} pairs, and the south shop has "
                "{k} times as many pairs.",
            ),
        ),
        events=(
            event("lose", "The north shop sells {n} pairs."),
            event("lose_second", "The south shop sells {n} pairs."),
            event("hand_over", "The north shop sends {n} of its pairs to the south shop."),
            event("gain", "A truck brings {n} new pairs to the north shop."),
            event("double_second", "Then the south shop doubles its number of pairs."),
        ),
        questions=(
            event("ask_x", "How many pairs does the north shop have now?"),
            event("ask_y", "How many pairs does the south shop have now?"),
            event(
                "ask_both",
                "How many pairs do both shops have together now?",
                "Together they have # pairs.",
            ),
            event(
                "ask_behind",
                "How many more pairs does the south shop have now than the north shop?",
                "The south shop has # more pairs.",
            ),
            event(
                "ask_worth_both",
                "Each pair costs {p} dollars. How many dollars are all the pairs in both shops "
                "worth now?",
                "Together they have # pairs.",
                "They are worth # dollars.",
            ),
        ),
        says={"x": "The north shop has # pairs.", "y": "The south shop has # pairs."},
        words={"item": ("shoe", "boot", "sandal")},
        distractors=(
            "The two shops are {d} miles apart.",
            "The north shop has {d} lamps.",
        ),
    ),
    "ticket_booth": Situation(
        openings=(
            event(
                "given_two_costs",
                "{A} sells tickets at the fair. In the first hour {he} sells {k} {show} tickets "
                "for {p} dollars each and {k2} ride tickets for {p2} dollars each.",
                "The {show} tickets bring # dollars.",
                "The ride tickets bring # dollars.",
            ),
            event(
                "given_cost",
                "{A} sells tickets at the fair. In the first hour {he} sells {k} {show} tickets "
                "for {p} dollars each.",
            ),
        ),
        events=(
            event(
                "gain_cost",
                "In the next hour {he} sells {k} boat tickets for {p} dollars each.",
                "The boat tickets bring # dollars.",
            ),
            event("lose", "{He} gives {n} dollars back to people who are too late."),
            event("gain", "A class pays {him} {n} dollars for a group ticket."),
            event("times", "{B} takes in {k} times as much money as {A}."),
            event("fewer", "{B} takes in {n} dollars less than {A}."),
            event("third_more", "{C} takes in {n} dollars more than {B}."),
            event("third_both", "{C} takes in as much money as {A} and {B} together."),
        ),
        questions=(
            event("ask_x", "How many dollars does {A} have from the tickets?"),
            event("ask_y", "How many dollars does {B} take in?"),
            event("ask_z", "How many dollars does {C} take in?"),
            event(
                "ask_all",
                "How many dollars do the three of them take in together?",
                "{A} and {B} have # dollars.",
                "With {C} it is # dollars.",
            ),
            event(
                "ask_both",
                "How many dollars do {A} and {B} take in together?",
                "Together they have # dollars.",
            ),
        ),
        says={
            "x": "{A} has # dollars.",
            "y": "{B} has # dollars.",
            "z": "{C} has # dollars.",
        },
        words={"show": ("show", "music", "circus", "film")},
        distractors=(
            "The fair has {d} stands.",
            "The big wheel at the fair is {d} meters high.",
        ),
    ),
    "car_wash": Situation(
        openings=(
            event(
                "given_two",
                "On Saturday {A} and {B} wash cars. {A} washes {s} cars and {B} washes {s2} cars.",
            ),
            event(
                "given_rates_apart",
                "On Saturday {A} and {B} wash cars for {k3} hours. {A} washes {k} cars an hour "
                "and {B} washes {k2} cars an hour.",
            ),
        ),
        events=(
            event("gain", "In the evening {A} washes {n} more cars."),
            event("gain_second", "In the evening {B} washes {n} more cars."),
            event("third_more", "{C} washes {n} more cars than {B}."),
            event("third_between", "{C} washes half as many cars as {A} and {B} together.",
                  "{A} and {B} wash # cars."),
        ),
        questions=(
            event(
                "ask_ahead",
                "How many more cars does {A} wash than {B}?",
                "{A} washes # more cars.",
            ),
            event(
                "ask_both",
                "How many cars do {A} and {B} wash together?",
                "Together they wash # cars.",
            ),
            event(
                "ask_worth_both",
                "They get {p} dollars for each car. How many dollars do {A} and {B} get "
                "together?",
                "Together they wash # cars.",
                "They get # dollars.",
            ),
            event(
                "ask_all",
                "How many cars do the three of them wash in all?",
                "{A} and {B} wash # cars.",
                "With {C} it is # cars.",
            ),
        ),
        says={
            "x": "{A} washes # cars.",
            "y": "{B} washes # cars.",
            "z": "{C} washes # cars.",
        },
        distractors=("The sun shines for {d} minutes.", "A new car wash opens in {d} weeks."),
    ),
    "wages": Situation(
        openings=(
            event(
                "given_nested_cost",
                "{A} works in a {place} for {k} hours a day. In {k2} days {he} gets {p} dollars "
                "for each hour.",
                "{A} works # hours.",
            ),
            event(
                "given_two_rates",
                "{A} works in a {place} and gets {p} dollars an hour. {He} works {k} hours on "
                "Monday and {k2} hours on Tuesday.",
                "{A} works # hours.",
            ),
        ),
        events=(
            event("lose", "{He} pays {n} dollars for a coat."),
            event(
                "lose_groups",
                "{He} buys food for {k} days and spends {k2} dollars each day.",
                "The food costs # dollars.",
            ),
            event("gain", "The owner gives {him} {n} dollars as a thank you."),
            event("keep_share", "{He} keeps {one_of} and puts the rest in the bank.") if False else
            event("halve", "{He} puts half of {his} money in the bank."),
            event("lose_quarter", "{He} gives a quarter of {his} money to {his} sister.",
                  "The sister gets # dollars."),
        ),
        questions=(
            event("ask_x", "How many dollars does {he} have now?"),
            event(
                "ask_room",
                "{He} wants a phone for {c} dollars. How many dollars are still missing?",
                "There are # dollars missing.",
            ),
            event(
                "ask_loss",
                "How many fewer dollars does {he} have now than when {he} is paid?",
                "That is # fewer dollars.",
            ),
        ),
        says={"x": "{A} has # dollars."},
        words={"place": ("shop", "library", "garden", "hotel", "museum")},
        distractors=("{He} has worked there for {d} weeks.", "{His} way to work is {d} miles."),
    ),
    "restaurant": Situation(
        openings=(
            event(
                "given_two_costs",
                "A group of friends eats out. They order {k} plates of {food} for {p} dollars "
                "each and {k2} drinks for {p2} dollars each.",
                "The {food} costs # dollars.",
                "The drinks cost # dollars.",
            ),
            event(
                "given_cost",
                "A group of friends eats out. They order {k} plates of {food} for {p} dollars "
                "each.",
            ),
        ),
        events=(
            event("gain", "They share a big cake for {n} dollars."),
            event("gain_cost", "They also order {k} soups for {p} dollars each.",
                  "The soups cost # dollars."),
            event("lose", "The cook is slow, so {n} dollars are taken off the bill."),
            event("gain_half", "Then the other table puts its bill on top, which is half of theirs.",
                  "The other bill is # dollars."),
        ),
        questions=(
            event("ask_x", "How many dollars is the whole bill?"),
            event(
                "ask_share",
                "The {k} friends share the bill equally. How many dollars does each friend pay?",
                "Each friend pays # dollars.",
            ),
            event(
                "ask_room",
                "They pay with {c} dollars. How many dollars do they get back?",
                "They get back # dollars.",
            ),
            event(
                "ask_tip_share",
                "They add {n} dollars for the waiter, and {k} friends share it all equally. "
                "How many dollars does each friend pay?",
                "With the waiter it is # dollars.",
                "Each friend pays # dollars.",
            ),
        ),
        says={"x": "The bill is # dollars."},
        words={"food": ("rice", "fish", "pasta", "chicken")},
        distractors=("There are {d} pictures on the wall.", "They wait {d} minutes for the food."),
    ),
    "flower_shop": Situation(
        openings=(
            event(
                "given_sorts",
                "A flower shop gets {k} bunches with {g} red {items} each and also {n2} white "
                "{items}.",
                "There are # red {items}.",
            ),
            event("given_dozens", "A flower shop gets {k} dozen {items} early in the morning."),
        ),
        events=(
            event("lose", "{n} {items} are too dry to sell, so they are thrown away."),
            event("gain", "A gardener brings {n} {items} more."),
            event("lose_two", "A bride takes {n} {items} and a school takes {n2} {items}.",
                  "They take # {items}."),
            event("halve", "The shop puts half of all the {items} in the window and keeps the "
                  "other half for bunches." ) if False else
            event("lose_third", "A third of all the {items} go to a hotel.",
                  "The hotel gets # {items}."),
            event("pack", "The shop ties all the {items} into bunches of {k}."),
            event("lose_second", "The shop gives {n} of these bunches away."),
            event("sell_second", "All these bunches are sold for {p} dollars each."),
        ),
        questions=(
            event("ask_x", "How many {items} does the shop have now?"),
            event("ask_y", "How many bunches to sell does the shop have?"),
            event("ask_m", "How many dollars does the shop get for the bunches?"),
            event("ask_worth", "The shop sells all the {items} for {p} dollars each. How many "
                  "dollars does it get?", "It gets # dollars."),
        ),
        says={
            "x": "There are # {items}.",
            "y": "There are # bunches.",
            "m": "The shop gets # dollars.",
        },
        words={"item": ("rose", "tulip", "flower")},
        distractors=("The shop opens at {d} minutes past the hour.", "The owner is {d} years old."),
    ),
}
