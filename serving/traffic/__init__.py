"""Users of a simulated platform who ask the running service and do what their hidden taste says.

How they behave, for everything that is drawn here and not by the simulator:

1. *Who comes.* Arrivals are a Poisson process. Who comes is drawn by the users' activity, so that heavy users return
   often; a small share are strangers, drawn as users are but never ingested, who return as well.
2. *When.* The platform stands still at the end of its period: tastes have turned as far as they do, moods are those of
   the last moment, which the last posts show.
3. *What is looked at.* The list is read from the top, by a cascade with clicks on several items: the simplified dynamic
   Bayesian network of Chapelle and Zhang ("A Dynamic Bayesian Network Click Model for Web Search Ranking", WWW 2009).
   After an item a user is satisfied and leaves, only if it was clicked; else goes on with the chance ``patience``.
   So what stands below is seen less, and not because it is worse.
4. *What is clicked.* Of what is seen, an item is taken with the logistic chance that the simulator gives to likes and
   shares, with the sharpness by which its users choose: 0.3 where the agreement is that of the usual view. Likes,
   shares and follows come after clicks with the simulator's own chances; the share of a video that is watched is a beta
   variable, whose mean grows with the agreement.
5. *What is asked for.* Nobody is offered again what they have clicked in this run: it is in the request's exclusions.

All chances are known, so the expected outcomes of each list are computed exactly beside what is drawn. Their means over
what an arm was shown are the truth that a verdict from the clicks can be held against.
"""
