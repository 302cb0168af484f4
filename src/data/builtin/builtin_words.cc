#include "builtin_words.h"

namespace cllm::data::words {

const std::array<Topic, kTopics> kTopicWords = {{
    {"harbor lighthouse pier shipyard beach wharf lagoon boathouse",
     "captain sailor pilot diver fisher", "Clara Marina Nora Isabel Coral Delia Pearl Tessa",
     "Jonas Peter Finn Silas Marcus Ivan Noah Dylan",
     R"(boat net anchor sail ship oar mast crab hull rope ferry barrel raft canoe gull shell hook
        buoy rudder lobster oyster compass harpoon schooner dolphin whale turtle seal paddle keel
        cabin porthole hatch winch cable yacht trawler kayak dinghy tiller foghorn sextant
        telescope plank cannon pelican eel octopus pebble sandbank reef island sloop barge
        lifeboat walrus jellyfish/jellyfishes gangway figurehead)"},
    {"farm barn orchard meadow pasture mill stable vineyard",
     "farmer shepherd herder miller beekeeper",
     "Martha Daisy Hannah Molly Agnes Bessie Olive Greta",
     "George Walter Adam Caleb Amos Henry Elmer Oscar",
     R"(cow horse plow wagon pig goat hen cart lamb fence bucket hoe apple sheaf/sheaves donkey
        rooster duck goose/geese calf/calves pony bull ox/oxen tractor scythe rake pitchfork
        haystack scarecrow beehive bale saddle bridle harness trough churn sickle seed pumpkin
        melon carrot turnip cabbage bean plum peach cherry acorn hedge furrow ewe ram mare foal
        chick kitten sack weathervane wheelbarrow horseshoe spade thistle)"},
    {"bakery kitchen inn tavern market brewery pantry cellar",
     "baker cook brewer confectioner grocer", "Emma Lucy Sophie Bella Rosa Polly Ginger Nell",
     "Oliver Felix Hugo Basil Bruno Ralph Otto Luca",
     R"(loaf/loaves cake pie oven pan kettle pot spoon knife/knives plate bowl cup bun cookie
        fork jug muffin tart biscuit pancake jar tray pastry lid teapot saucer apron napkin
        tablecloth mug ladle grater whisk funnel skillet cauldron pitcher flask bottle cork onion
        potato/potatoes tomato/tomatoes lemon pepper sausage omelet dumpling waffle pretzel bagel
        pudding stew sandwich cheesecake recipe freezer cupboard goblet)"},
    {"workshop forge garage factory foundry sawmill toolshed warehouse",
     "carpenter blacksmith mechanic locksmith glassblower",
     "Helen Sarah Ingrid Hilda Thelma Wanda Astrid Ursula",
     "Thomas Robert Gustav Edgar Ernest Victor Leon Karl",
     R"(hammer nail engine wheel tool table chair wrench drill anvil ladder bench axe chisel
        screw bolt gear lever spring motor shelf/shelves cabinet toolbox vise plane clamp file
        furnace crucible ingot hinge lathe mallet sander screwdriver spanner pump valve piston
        cylinder boiler generator battery wire bulb gauge rivet bracket axle crowbar pickaxe
        sawhorse workbench stool cradle wardrobe)"},
    {"library school museum archive bookshop university classroom gallery",
     "librarian printer translator historian bookbinder",
     "Alice Judith Edith Sylvia Miriam Beatrice Harriet Lydia",
     "Arthur Samuel Edmund Conrad Simon Julian Homer Virgil",
     R"(book letter map page story pen poem desk novel pencil notebook diary dictionary atlas
        newspaper magazine manuscript scroll portrait painting statue bookcase bookmark envelope
        inkwell quill chapter paragraph essay textbook almanac encyclopedia globe blackboard
        eraser ruler folder journal catalog pamphlet leaflet riddle fable legend chronicle
        biography dissertation lecture lesson fossil skeleton mummy medal vase tapestry mosaic
        sculpture inscription)"},
    {"theater playhouse circus ballroom studio cinema auditorium conservatory",
     "singer actor violinist dancer playwright",
     "Julia Vera Carmen Stella Celeste Viola Gloria Ariel",
     "Leo Franz Anton Pablo Dante Hector Romeo Sergio",
     R"(song costume mask violin piano drum play curtain stage dress wig flute guitar trumpet
        harp puppet script ticket microphone spotlight opera ballet melody waltz symphony sonata
        concerto cello clarinet trombone tuba banjo accordion tambourine xylophone organ
        rehearsal comedy tragedy scene slipper gown cape crown feather ribbon necklace bracelet
        mirror chandelier balcony backdrop trapeze unicycle poster camera film)"},
    {"valley forest camp summit ravine glacier canyon plateau",
     "climber ranger trapper woodcutter geologist",
     "Heidi Freya Willow Laurel Sierra Dana Juniper Elsa",
     "Erik Gunnar Hans Boris Rocky Magnus Tarik Olaf",
     R"(tent trail bear wolf/wolves fox eagle trap backpack stone rock cave pine oak stump
        campfire sled ski boot snowshoe peak cliff stream waterfall boulder owl rabbit squirrel
        hedgehog badger otter beaver falcon raven hawk woodpecker lizard snake spider beetle
        butterfly mushroom berry fern maple birch cedar branch canteen hammock icicle avalanche
        crystal nugget signpost footprint antler hatchet)"},
    {"station depot junction terminal platform railyard roundhouse viaduct",
     "conductor porter driver engineer dispatcher",
     "Ruby Irene Norma Doris Gladys Maxine Paula Yvonne",
     "Frank Albert Howard Stanley Clifford Vernon Rufus Wesley",
     R"(train suitcase trunk parcel carriage locomotive track signal timetable bag whistle crate
        rail tunnel pillar coach compartment caboose turnstile turntable cushion umbrella
        briefcase satchel postcard telegram package mailbag kiosk booth escalator elevator brake
        throttle chimney headlight buffer coupling freighter tram trolley bus bicycle motorcycle
        scooter truck van taxi stagecoach lamppost billboard)"},
}};

const std::string_view kThings =
    R"(box key lamp basket picture lantern clock ring coat hat candle blanket rug gift coin bell
       toy glove shoe scarf/scarves shirt pillow carpet purse wallet locket pipe needle button
       thimble spool ball doll kite marble statuette medallion trinket souvenir bundle packet
       pouch chest casket drawer stove sofa armchair doorbell doorknob broom mop sponge towel
       comb razor thermometer calendar bandage crutch lighter matchbox padlock chain)";

const std::string_view kPersons =
    R"(child/children friend neighbor man/men woman/women girl boy teacher stranger brother
       sister doctor guest visitor traveler uncle aunt cousin soldier merchant student king
       queen painter writer poet judge lawyer nurse servant clerk mayor tailor officer hunter
       gardener thief/thieves widow priest banker prince princess grandmother grandfather nephew
       niece twin bride tourist barber butcher cobbler beggar monk nun hermit pilgrim scholar
       professor inventor architect builder potter weaver goldsmith jeweler clockmaker
       watchman/watchmen messenger postman/postmen spy rebel champion athlete rider runner
       swimmer juggler magician clown musician composer critic editor journalist reporter
       detective dentist surgeon pharmacist scientist chemist philosopher politician minister
       senator governor ambassador colonel sergeant apprentice orphan knight duke toddler
       teenager acrobat astronomer biologist botanist carver counselor diplomat dreamer
       electrician emperor explorer gambler genius giant goalkeeper guardian heir hero/heroes
       host infant insurer interpreter janitor jester lieutenant lodger mathematician mediator
       mourner novice nomad optician outlaw owner passerby/passersby peddler physicist pirate
       plumber prisoner prophet puppeteer sculptor sheriff smuggler spectator squire storyteller
       tenant treasurer tutor usher vagabond veteran veterinarian wizard)";

const std::string_view kPlaces =
    R"(house river door garden bridge road window church lake hill wall gate village square
       street pond fountain tower castle park hotel hospital cottage palace cemetery courtyard
       alley canal chapel temple monastery staircase corridor balustrade porch terrace attic
       basement fireplace)";

const std::string_view kEvents =
    R"(breakfast lunch dinner supper sunrise sunset midnight noon school work winter summer
       the|storm the|war the|festival the|wedding the|concert the|exam the|funeral the|parade
       the|harvest the|election the|flood the|feast the|holidays the|meeting the|race
       the|journey the|strike the|party)";

const std::string_view kHandle =
    R"(find/found carry bring/brought lose/lost take/took/taken open sell/sold buy/bought clean
       see/saw/seen keep/kept hide/hid/hidden mend paint wash move count lift drop* pull push
       break/broke/broken build/built steal/stole/stolen hold/held choose/chose/chosen repair
       draw/drew/drawn throw/threw/thrown catch/caught borrow love like need use fix collect
       gather polish measure examine inspect admire study describe cover wrap* fold tie untie
       fasten load unload store weigh sort stack save drag* roll turn shake/shook/shaken touch
       grab* abandon discover recognize replace remove deliver receive accept return share
       arrange prepare decorate design invent copy check test mark scratch damage destroy burn
       bury haul raise lower tighten loosen sharpen bend/bent carve stitch sew/sewed/sewn
       weave/wove/woven trade observe trace request demand offer grasp squeeze toss swing/swung
       kick knock tap* press stretch crush pack unpack hang/hung pick fill drain soak rinse wipe
       sweep/swept scrub* oil grease adjust balance assemble install connect attach detach
       operate steer release hoist salvage restore renew rebuild/rebuilt recover retrieve
       display exhibit reveal conceal deposit donate rent purchase criticize ignore avoid
       neglect misplace sniff tear/tore/torn rip* patch varnish wax dust rearrange untangle
       unlock lock unwrap* hate lend/lent leave/left seek/sought protect guard reject divide
       label approve inherit import export confiscate dismantle duplicate enlarge evaluate
       illustrate imitate modify obtain peel photograph prize produce pursue reclaim register
       reserve rotate sample scan* seize select sketch smash spray squash stamp straighten
       submerge suspend swap* transport twist upgrade value wind/wound)";

const std::string_view kAddress =
    R"(help thank greet meet/met follow visit warn trust teach/taught invite call ask hear/heard
       answer praise blame forgive/forgave/forgiven comfort scold encourage advise guide join
       pay/paid hire tease rescue welcome surprise amuse annoy frighten puzzle embrace hug*
       persuade convince interrupt obey support respect envy pity miss assist cheer consult
       summon dismiss defend accompany question chase feed/fed adore alarm applaud astonish
       bother bribe calm challenge charm confuse console deceive despise disappoint disturb
       entertain fascinate flatter impress inform inspire insult irritate kiss mock motivate
       nudge offend outwit* pester please reassure remind reward ridicule salute shock shun*
       soothe startle tickle urge)";

const std::string_view kAct =
    R"(smile wait laugh sleep/slept work sing/sang/sung talk walk sit*/sat stand/stood
       run*/ran/run listen arrive travel nod* shout whisper cry pause rest swim*/swam/swum climb
       sigh frown yawn shiver tremble hesitate complain argue agree worry wander hurry
       kneel/knelt wink blush sneeze cough snore giggle stumble hum* pray march linger relax
       daydream grin* chuckle mumble stutter apologize rejoice retire volunteer bow celebrate
       compete cooperate crouch dine doze escape exercise faint fidget gasp gossip groan grumble
       lie/lay/lain loiter meditate mourn mutter panic/panicked/panicked/panicking protest
       quarrel scream shrug* skate snooze sob* stammer stroll sulk surrender sweat tiptoe
       weep/wept whimper)";

const std::string_view kThink =
    R"(think/thought know/knew/known believe hope notice remember fear guess imagine realize
       explain feel/felt announce suspect suppose insist learn claim declare assume dream
       swear/swore/sworn conclude admit* pretend predict)";

const std::string_view kControl =
    R"(want try decide begin*/began/begun plan* promise forget*/forgot/forgotten refuse start
       continue intend attempt expect wish manage struggle mean/meant vow threaten aim consent
       prefer*)";

const std::string_view kHappen =
    R"(fall/fell/fallen shine/shone creak glow rattle disappear appear vanish float
       sink/sank/sunk rust crack leak drift spin*/spun wobble squeak sparkle glitter gleam
       shimmer sway tumble slip* slide/slid tilt bounce collapse decay fade flicker lean rot*
       shrink/shrank/shrunk swell topple rumble clatter jingle sag* splinter warp crumble dangle
       twinkle smolder fail stick/stuck jam* tip* matter age clink corrode crackle crinkle
       dissolve erode evaporate explode freeze/froze/frozen glisten melt quiver reappear ripple
       rustle shatter sizzle snap* soften survive swivel thud* vibrate wither wilt wrinkle)";

const std::string_view kThingAdjectives =
    R"(old new small large big heavy beautiful little broken strange good empty long light
       bright dark simple precious cheap expensive famous pretty useful rusty dusty dirty shiny
       round narrow wide short thick thin deep flat sharp blunt smooth rough soft hard strong
       weak plain elegant fine rare common ancient modern foreign familiar curious unusual
       ordinary magnificent splendid tiny huge enormous gigantic ugly lovely charming delicate
       fragile solid sturdy loose tight hollow full wet damp dry warm cold hot slippery sticky
       greasy clumsy crooked straight curved pointed striped spotted painted colorful pale faded
       worn ragged spare second-hand handmade homemade antique valuable worthless useless
       perfect faulty suspicious mysterious secret missing popular remarkable impressive modest
       humble noisy silent portable invisible transparent fragrant horrible terrible wonderful
       excellent adequate inferior superior imported)";

const std::string_view kPersonAdjectives =
    R"(old young tired happy kind poor rich proud tall brave quiet clever angry sad lonely wise
       honest hungry nervous patient polite rude shy lazy busy careful careless cheerful gentle
       generous grateful jealous curious stubborn humble modest strict loyal foolish friendly
       famous gloomy greedy sleepy thirsty anxious bold cautious confident courageous cruel
       eager elegant energetic faithful fearless graceful gracious helpful hopeful impatient
       innocent intelligent merry mischievous moody noble obedient optimistic pessimistic
       playful practical reliable ruthless sensible serious skillful sincere sociable talented
       talkative thoughtful timid tolerant witty wicked)";

const std::string_view kMaterials =
    R"(red green blue white black wooden brown yellow gray silver golden brass iron copper
       leather glass paper steel tin woolen cotton silk velvet linen ivory clay ceramic
       porcelain bronze bamboo wicker plastic rubber purple orange pink scarlet crimson
       turquoise amber emerald beige maroon lilac)";

const std::string_view kCompared =
    R"(old new small large big* heavy bright dark cheap light long short wide narrow thick thin*
       deep flat* sharp smooth rough soft hard strong weak plain fine rare tiny huge ugly lovely
       sturdy loose tight wet* damp dry warm cold hot* dusty rusty dirty shiny clumsy pale noisy
       pretty simple strange)";

const std::string_view kManners =
    R"(quiet slow careful quick soft loud sudden happy sad angry calm patient nervous gentle
       proud eager polite brave secret bitter anxious peaceful cheerful serious silent sweet
       rude clumsy graceful lazy honest gloomy greedy hungry sleepy thoughtful weary wise bold
       brief cautious clever constant cruel curious deep desperate dreamy elegant endless
       faithful fierce foolish formal frank frantic free furious generous grateful helpless
       hopeful hopeless humble impatient innocent instant joyful kind meek merry mysterious
       noisy obedient open playful private rapid reluctant restless shy skillful smooth solemn
       stern stubborn tender tense timid tireless vague warm wild)";

}  // namespace cllm::data::words
