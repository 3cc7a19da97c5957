"""The words that titles and posts are put together from."""

__all__ = ["FEELINGS", "LOOKS", "OPENERS", "PLACES", "THINGS", "TRACKS"]

OPENERS = (
    "Today", "Tonight", "This morning", "This evening", "Right now", "After work", "On the way home", "At the weekend",
)  # fmt: skip

FEELINGS = {
    "happy": ("I feel so happy", "what a wonderful day", "I am full of joy", "I cannot stop smiling", "life is lovely"),
    "energetic": ("I am so excited", "I could dance all night", "what a thrill", "I am full of energy", "let us go"),
    "romantic": ("I am in love", "my heart is warm", "I miss you tenderly", "such a sweet moment", "hold my hand"),
    "calm": ("I feel calm", "everything is quiet and peaceful", "time to relax", "I breathe slowly", "so serene"),
    "sad": ("I feel so sad", "I am lonely", "I could cry", "my heart is broken", "what a gloomy day"),
    "angry": ("I am so angry", "this makes me furious", "I hate it", "what an outrage", "I am fed up with this"),
    "tense": ("I am nervous", "I am worried", "I feel anxious", "so much stress", "I am afraid of what comes"),
    "": ("nothing special", "just the usual", "here I am again", "a short note", "one more for the album"),
}
"""Name of a mood → what people say in it; the empty name is for none."""

LOOKS = {
    "happy": ("cheerful", "delightful", "sunny", "joyful", "charming"),
    "energetic": ("wild", "thrilling", "fast", "electric", "unstoppable"),
    "romantic": ("lovely", "tender", "sweet", "dreamy", "warm"),
    "calm": ("quiet", "peaceful", "gentle", "slow", "relaxing"),
    "sad": ("sad", "lonely", "grey", "melancholy", "heartbreaking"),
    "angry": ("furious", "brutal", "raging", "loud", "merciless"),
    "tense": ("nervous", "scary", "dark", "uneasy", "risky"),
}

THINGS = (
    ("street food", "home cooking", "a noodle recipe", "chocolate cake", "dinner with friends", "fresh bread"),
    ("football goals", "a basketball match", "the cup final", "training at the stadium", "a penalty kick", "my team"),
    ("a puppy", "two kittens", "my old dog", "a parrot that talks", "a hamster at play", "the cat on the sofa"),
    ("a mountain hike", "a beach holiday", "a train journey", "the old town", "a hotel by the sea", "packing my bag"),
    ("a make-up lesson", "skin care", "new lipstick", "a hair style", "nail art", "a morning beauty routine"),
    ("a street dance", "ballet practice", "a dance challenge", "hip moves", "a tango for two", "the dance floor"),
    ("a guitar cover", "piano practice", "a singer on stage", "a drum solo", "a choir", "a song I wrote"),
    ("a racing game", "a boss fight", "speed running", "a new console", "online battles", "building in blocks"),
    ("a sports car", "a motorbike ride", "engine repair", "a road trip", "a parking lesson", "an electric car"),
    ("a summer dress", "autumn jackets", "new sneakers", "an outfit of the day", "vintage jeans", "a fashion show"),
    ("a new phone", "a laptop review", "a small robot", "a camera test", "smart home tricks", "writing code"),
    ("a yoga class", "a gym workout", "morning running", "lifting weights", "stretching at home", "a healthy diet"),
    ("my baby's first steps", "family games", "school days", "a birthday party", "grandmother's stories", "the twins"),
    ("a wedding", "a first date", "flowers for you", "a love letter", "an anniversary", "a proposal"),
    ("a comedy sketch", "a prank", "funny voices", "a joke at the office", "a clumsy fall", "stand-up night"),
    ("an oil painting", "a pencil drawing", "paper craft", "a clay pot", "a mural in the city", "a knitting pattern"),
    ("a garden in bloom", "house plants", "growing tomatoes", "autumn leaves", "a forest walk", "birds at the lake"),
    ("a film review", "a series finale", "an actor's interview", "a movie trailer", "cinema night", "a cartoon"),
    ("a history lesson", "a language course", "a maths trick", "a science experiment", "exam tips", "a good book"),
    ("saving money", "a house tour", "the stock market", "a small business", "a job interview", "market prices"),
    ("the evening news", "a city election", "a street parade", "a storm warning", "traffic today", "a local hero"),
    ("fishing at dawn", "a camp fire", "surfing waves", "rock climbing", "skiing downhill", "a river kayak"),
    ("furniture repair", "painting the walls", "a kitchen makeover", "tidy shelves", "a wooden table", "lamp ideas"),
    ("a coffee shop", "green tea", "a night market", "a rooftop bar", "ice cream", "breakfast in bed"),
)
"""Topic → things that videos and posts about it show."""

PLACES = (
    "by the river", "in the city", "at home", "in my room", "on the roof", "in the park", "at the station",
    "under the stars", "in the rain", "at the corner", "in the old house", "by the window",
)  # fmt: skip

TRACKS = (
    "Summer", "Midnight", "River", "Neon", "Paper Moon", "Highway", "Echo", "Garden", "Thunder", "Mirror", "Harbour",
    "Lantern", "Snow", "Island", "Carousel", "Horizon", "Tiger", "Orchid", "Satellite", "Velvet",
)  # fmt: skip
