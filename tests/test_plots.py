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


def test_bars_carry_their_numbers():
    ax = plot_rmse({"mean": 1.119, "ours": 0.897}, highlight="ours")
    assert [text.get_text() for text in ax.texts] == ["1.119", "0.897"]
    assert [bar.get_width() for bar in ax.patches] == [1.119, 0.897]
    assert ax.patches[1].get_facecolor() == matplotlib.colors.to_rgba(ORANGE) != ax.patches[0].get_facecolor()


def test_bars_refuse_nothing_and_unknown_names():
    with pytest.raises(ValueError, match="empty"):
        plot_rmse({})
    with pytest.raises(ValueError, match="'our' is not among the scores: ours"):
        plot_rmse({"ours": 0.9}, highlight="our")
