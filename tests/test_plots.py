"""The shared plots draw what they are given."""

import matplotlib

matplotlib.use("Agg")

from course_utils.plots import ORANGE, plot_rmse, plot_training

import matplotlib.pyplot as plt
import pandas as pd
import pytest

HISTORY = pd.DataFrame({"rmse": [1.0, 0.9], "val_rmse": [1.1, 1.0]}, index=pd.RangeIndex(1, 3, name="epoch"))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_history_draws_columns_and_baselines():
    ax = plot_training(HISTORY, {"rmse": "training", "val_rmse": "validation"}, baselines={"both biases": 0.93})
    curve = ax.lines[1]
    assert curve.get_xdata().tolist() == [1, 2] and curve.get_ydata().tolist() == [1.1, 1.0]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training", "validation", "both biases (0.930)"]
    assert "stars" in ax.get_ylabel() and ax.get_xlabel() == "epoch"


def test_history_takes_an_axis():
    _, ax = plt.subplots()
    assert plot_training(HISTORY, {"rmse": "training"}, ax=ax) is ax


def test_history_names_what_is_missing():
    with pytest.raises(ValueError, match="no column 'RMSE'. It has: rmse, val_rmse"):
        plot_training(HISTORY, {"RMSE": "training"})


def test_dots_carry_their_numbers_on_a_cut_axis():
    ax = plot_rmse({"mean": 1.119, "ours": 0.897, "close": 0.895}, highlight="ours")
    assert [text.get_text() for text in ax.texts] == ["1.119", "0.897", "0.895"]
    dots = ax.collections[0]
    assert dots.get_offsets()[:, 0].tolist() == [1.119, 0.897, 0.895]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mean", "ours", "close"]
    colors = dots.get_facecolors()
    assert tuple(colors[1]) == matplotlib.colors.to_rgba(ORANGE) and tuple(colors[0]) == tuple(colors[2])
    assert tuple(colors[0]) != tuple(colors[1])
    low, high = ax.get_xlim()
    assert 0.8 < low < 0.895 and 1.119 < high < 1.25 and ax.yaxis_inverted()
    assert "does not begin at 0" in ax.get_xlabel()


def test_one_dot_alone_can_be_drawn():
    low, high = plot_rmse({"ours": 0.9}).get_xlim()
    assert low < 0.9 < high


def test_bars_refuse_nothing_and_unknown_names():
    with pytest.raises(ValueError, match="empty"):
        plot_rmse({})
    with pytest.raises(ValueError, match="'our' is not among the scores: ours"):
        plot_rmse({"ours": 0.9}, highlight="our")
