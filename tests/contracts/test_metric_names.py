"""Which names are figures of the whole."""

from contracts.metric_names import figures_of, headlines

METRICS = {
    "validation_recall_at_20": 0.1,
    "test_hr_at_5": 0.2,
    "test_hr_at_10": 0.3,
    "test_cold_users_hr_at_10": 0.4,
    "validation_popularity_lift_at_20": 1.5,
    "validation_recall_at_20_low": 0.05,
    "test_missing_visual_hr_at_10": 0.5,
    "test_cold_users_events": 6.0,
    "share_missing_visual": 0.7,
    "loss": 0.8,
    "system/cpu_utilization_percentage": 0.9,
}


def test_figures_of_a_part_are_those_of_all_its_events() -> None:
    assert figures_of(METRICS, "test") == {("hr", 5): 0.2, ("hr", 10): 0.3}
    assert figures_of(METRICS, "validation") == {("recall", 20): 0.1, ("popularity_lift", 20): 1.5}


def test_headlines_leave_slices_and_the_machine_out() -> None:
    left_out = {
        "test_cold_users_hr_at_10",
        "test_missing_visual_hr_at_10",
        "validation_recall_at_20_low",
        "system/cpu_utilization_percentage",
    }
    assert headlines(METRICS) == {name: value for name, value in METRICS.items() if name not in left_out}
