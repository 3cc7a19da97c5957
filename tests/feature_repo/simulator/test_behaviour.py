"""What people do on a simulated platform: popularity, tastes, moods and friends all leave their trace."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from feature_repo.raw_tables import RawTables
from feature_repo.simulator import simulate
from feature_repo.simulator.vocabulary import FEELINGS

VALENCE = {"happy": 1, "energetic": 1, "romantic": 1, "calm": 0, "tense": 0, "sad": -1, "angry": -1}


@pytest.fixture(scope="module")
def chatty() -> RawTables:
    """Users who publish, post and listen a lot."""
    return simulate(users=300, videos=6_000, days=28, seed=3, events=3_000, posts=12_000, listens=12_000, music=200)


def frame(raw: RawTables, table: str, kind: str | None = None) -> pd.DataFrame:
    rows: pd.DataFrame = raw.tables[table].to_pandas()
    return rows if kind is None else rows[rows["kind"] == kind]


def vectors(raw: RawTables, name: str) -> npt.NDArray[np.float64]:
    found = np.array(raw.tables[f"embedding_{name}"]["vector"].to_pylist())
    found -= found.mean(axis=0)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("table", "column"),
    [("interactions", "video_id"), ("interactions", "user_id"), ("listens", "music_id"), ("videos", "music_id")],
)
def test_counts_are_heavy_tailed(platform: RawTables, table: str, column: str) -> None:
    counts = np.sort(list(Counter(frame(platform, table)[column]).values()))[::-1]
    top_tenth = counts[: len(counts) // 10].sum() / counts.sum()
    assert 0.2 < top_tenth < 0.7


@pytest.mark.parametrize("modality", ["visual", "acoustic", "textual"])
def test_viewers_of_a_video_agree_and_content_tells(platform: RawTables, modality: str) -> None:
    """A user's videos look more alike than videos of the same popularity at random, in every modality."""
    events = frame(platform, "interactions", "view")
    rows = events["video_id"].str[1:].astype(int).to_numpy()
    users = events["user_id"].to_numpy()
    shuffled = np.random.default_rng(0).permutation(rows)
    found = vectors(platform, modality)
    order = np.argsort(users, kind="stable")
    same = users[order][1:] == users[order][:-1]
    own = (found[rows[order][1:]] * found[rows[order][:-1]]).sum(axis=1)[same].mean()
    chance = (found[shuffled[1:]] * found[shuffled[:-1]]).sum(axis=1).mean()
    assert own > chance + 0.02


def test_likes_shares_and_follows_come_seconds_after_the_view(platform: RawTables) -> None:
    views = frame(platform, "interactions", "view").set_index(["user_id", "video_id"])["event_time"]
    for kind in ("like", "share", "follow"):
        acts = frame(platform, "interactions", kind).set_index(["user_id", "video_id"])["event_time"]
        assert len(acts) > 50
        wait = (acts - views.reindex(acts.index)).dt.total_seconds()
        assert wait.min() >= 2
        assert wait.max() < 3700


def test_liked_videos_agree_more(platform: RawTables) -> None:
    """A liked video looks more like the user's other views than one merely seen."""
    views = frame(platform, "interactions", "view")
    liked = set(frame(platform, "interactions", "like").set_index(["user_id", "video_id"]).index)
    rows = views["video_id"].str[1:].astype(int).to_numpy()
    users = views["user_id"].str[1:].astype(int).to_numpy()
    found = vectors(platform, "visual")
    sums, counts = np.zeros((400, found.shape[1])), np.bincount(users, minlength=400)
    np.add.at(sums, users, found[rows])
    others = (sums[users] - found[rows]) / np.maximum(counts[users] - 1, 1)[:, None]
    closeness = (others * found[rows]).sum(axis=1)[counts[users] > 5]
    is_liked = np.array([pair in liked for pair in zip(views["user_id"], views["video_id"], strict=True)])
    is_liked = is_liked[counts[users] > 5]
    assert closeness[is_liked].mean() > closeness[~is_liked].mean() + 0.01


def test_friends_watch_alike(platform: RawTables) -> None:
    """Those who follow each other, other than from a video, share more of what they see than strangers do."""
    views = frame(platform, "interactions", "view")
    found = vectors(platform, "visual")
    means = np.zeros((400, found.shape[1]))
    np.add.at(means, views["user_id"].str[1:].astype(int), found[views["video_id"].str[1:].astype(int)])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    for network in ("follow", "repost"):
        edges = frame(platform, "edges")
        edges = edges[edges["network"] == network]
        source, target = (edges[name].str[1:].astype(int).to_numpy() for name in ("source_id", "target_id"))
        strangers = np.random.default_rng(0).permutation(target)
        friends = (means[source] * means[target]).sum(axis=1).mean()
        assert friends > (means[source] * means[strangers]).sum(axis=1).mean() + 0.05, network


def mood_said(posts: pd.DataFrame) -> pd.Series:
    """Valence of what each post says; NaN where it says nothing of a mood."""
    said = pd.Series(np.nan, posts.index)
    for mood, phrases in FEELINGS.items():
        if mood:
            says = posts["text"].str.contains("|".join(phrases), case=False, na=False)
            said[says] = VALENCE[mood]
    return said


def test_moods_show_in_posts_and_decide_on_music(chatty: RawTables) -> None:
    """After a pleasant post, users listen to more pleasant music than the same users do after an unpleasant one."""
    posts = frame(chatty, "posts")
    posts["said"] = mood_said(posts)
    posts = posts.dropna(subset="said")[["user_id", "event_time", "said"]]
    listens = frame(chatty, "listens", "listen")[["user_id", "music_id", "event_time"]]
    moods = frame(chatty, "music").set_index("music_id")["mood"].map(VALENCE)
    near = pd.merge_asof(listens, posts, on="event_time", by="user_id", tolerance=pd.Timedelta(hours=6)).dropna()
    near["heard"] = near["music_id"].map(moods).astype(float)
    near["heard"] -= near.groupby("user_id")["heard"].transform("mean")  # the mood of the moment, not the temper
    after = near.groupby("said")["heard"].mean()
    assert (near["said"].value_counts() > 200).all()
    assert after[1] > after[-1] + 0.15


def test_vectors_of_posts_tell_the_mood(chatty: RawTables) -> None:
    """A linear reading of a post's handcrafted vector finds the valence of its words."""
    posts = frame(chatty, "posts").assign(said=lambda rows: mood_said(rows)).set_index("post_id")
    for name in ("post_textual", "post_textual_handcrafted", "post_visual", "post_visual_handcrafted"):
        table = frame(chatty, f"embedding_{name}")
        said = posts["said"].reindex(table["post_id"]).to_numpy()
        known = ~np.isnan(said)
        found = np.column_stack([np.stack(table["vector"][known].to_list()), np.ones(known.sum())])
        half = len(found) // 2
        weights = np.linalg.lstsq(found[:half], said[known][:half], rcond=None)[0]
        assert np.corrcoef(found[half:] @ weights, said[known][half:])[0, 1] > 0.35, name


def test_posts_follow_the_week(chatty: RawTables) -> None:
    posts = frame(chatty, "posts")
    by_day = mood_said(posts).groupby(posts["event_time"].dt.dayofweek).mean()
    assert by_day[5] > by_day[0] + 0.2  # Saturday, Monday


def same_share(values: npt.NDArray[np.object_], groups: npt.NDArray[np.object_]) -> tuple[float, float]:
    """How often neighbours within a group, and how often any two, have the same value."""
    order = np.argsort(groups, kind="stable")
    within = groups[order][1:] == groups[order][:-1]
    own = (values[order][1:] == values[order][:-1])[within].mean()
    shares = pd.Series(values).value_counts(normalize=True)
    return float(own), float((shares**2).sum())


def test_background_music_depends_on_author_and_video(chatty: RawTables) -> None:
    videos = frame(chatty, "videos")
    music = frame(chatty, "music").set_index("music_id")
    genre = music["genre"].reindex(videos["music_id"]).to_numpy()
    by_author, chance = same_share(genre, videos["author_id"].to_numpy())
    assert by_author > chance + 0.05
    languages = music["language"].reindex(videos["music_id"]).to_numpy()
    own_language, any_language = same_share(languages, videos["author_id"].to_numpy())
    assert own_language > any_language + 0.05

    # Videos that look alike, of different authors, have music of the same genre more often than any two.
    found = vectors(chatty, "visual")[:2000]
    alike = found @ found.T
    authors = videos["author_id"].to_numpy()[:2000]
    alike[authors[:, None] == authors[None, :]] = -1
    nearest = alike.argmax(axis=1)
    assert (genre[:2000] == genre[nearest]).mean() > chance + 0.03


def test_profiles_have_gaps_and_music_its_measures(platform: RawTables) -> None:
    users, music = frame(platform, "users"), frame(platform, "music")
    for column in ("gender", "age", "region"):
        assert 0.01 < users[column].isna().mean() < 0.25
    assert users["age"].dropna().between(13, 90).all()
    assert music["tempo"].between(60, 180).all()
    assert music["pitch"].between(80, 880).all()
    assert music.groupby("genre")["tempo"].mean().std() > 10
    assert music["mood"].nunique() == 7
    assert music["title"].str.contains("(", regex=False).all()
