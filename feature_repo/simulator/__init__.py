"""A simulated short-video platform: never real data, and no model's own assumptions.

The generative model, for U users, N videos, M pieces of music and E views over a number of days:

1. *Topics.* There are 24 topics, each a direction in a space of 16 content factors. A video mixes one main topic
   with some of another and a personal deviation. It has 8 more factors, such as humour, that no encoder sees.
2. *Encoders.* A modality sees a random nonlinear projection of what it is given, with its own blind spots (a quarter
   of the factors) and noise. Videos: visual (64 numbers) sees content and a little of the video's mood and is the
   clearest, textual (48) less so, acoustic (32) hears the background music as well and is the noisiest. Music:
   acoustic (32) hears style, mood, tempo and pitch. Posts: deep vectors (32) see the topic first, handcrafted ones
   (16 and 12) the mood first; a post without a text, or without a picture, lacks that vector.
3. *Appeal.* Videos and music have a log-normal appeal, so counts are heavy-tailed whatever the tastes are.
4. *Publication.* Seven videos in ten were published in the 60 days before the first event, the rest during the
   period; nine pieces of music in ten are older than all videos. Nothing is met before its publication.
5. *Tastes.* A user likes one to four topics and some hidden factors; over the whole period the taste turns a little
   (about 20 degrees) towards another topic. The taste in music has 6 style factors, which lean on the content the
   user likes, and 2 hidden ones, and a first and a second language, which lean on the region. Age and gender lean a
   little on a topic. Some profiles are incomplete.
6. *Moods.* A user has a temper and a mood, valence and arousal, that forgets within about a day and a half (the
   autocorrelation of an AR(1) process), on top of a rhythm of week and day that all users share.
7. *Music* has a genre, which sets the usual tempo, pitch, mood and style, then deviations of its own.
8. *Creation.* Users differ log-normally in how much they publish. Seven videos in ten are about a usual topic of the
   author; its mood leans on the topic and on the author's mood. For the background music the author is offered 48
   pieces by appeal and takes one with probability proportional to exp(7 x ((1-c) x own taste + c x fit of style and
   content) - mood distance / 2 + language), where c differs between authors.
9. *Views.* Users differ log-normally in activity. Events follow the hours of the day. At each event the platform
   shows 32 videos already published, drawn by appeal; the user watches one of them, with probability proportional to
   exp(8 x agreement of taste and video + 1.2 x agreement with the background music + 0.3 x agreement of the moods),
   and never the same video twice. Likes, shares and follows of the author come seconds after some views, the likelier
   the better the video agreed.
10. *Networks.* A user follows those of 24 met by fame who agree in taste (hidden factors too) and region, and authors
    followed from a video. A share is a repost of the author; followers repost, the more the more they agree.
11. *Posts* come at any time, most about the user's topics, and show the mood of the moment with noise.
12. *Listens.* Half of them come within hours of a post. Of 32 pieces offered by appeal the user takes one with
    probability proportional to exp(4 x agreement of tastes + 1.2 x agreement of moods + language), where moods sway
    some users more than others.
13. *Arrival.* A share ``late`` of the rows of interactions, listens, posts and edges is known hours to days after it
    happened (median three hours), the rest at once. One user in five joined shortly before their first act.

Every part draws from a stream of chance of its own: asking for more posts leaves views as they are. Factors that every
encoder sees, factors that none sees, popularity, drift, moods and friends are all present, so content-based,
collaborative, contextual, social and popularity models each have something to find.
"""

from feature_repo.simulator.generator import generate, plan_of, simulate
from feature_repo.simulator.media import media_of
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.presets import PRESETS

__all__ = ["PRESETS", "Plan", "generate", "media_of", "plan_of", "simulate"]
