"""The page of a run: well formed, self-contained, never obeying a text from a file, and right in its numbers."""

import html
import re
import shutil
import statistics
import subprocess
from dataclasses import fields, replace
from functools import cache
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, r2_score, root_mean_squared_error

from geodescent import InputError
from geodescent.app.report import INK, Comparison, ReportFacts, TestRows, error_of, metrics_of, page
from geodescent.app.report._drawing import MUTED, drawn_rows, tick_text
from geodescent.app.report._figures_of_classes import DARK_CELL, shades
from geodescent.app.report._figures_of_runs import comparisons_picture, history_picture, importance_picture
from geodescent.app.report._markup import numeral, percent, shortened, visible, with_error
from geodescent.app.report._metrics import confusion_of
from geodescent.app.report._page_numbers import left_out_against_test

CERTIFICATE = """rank        60 of 60 at rcond 1e-14
noise       a third of the variance of the target is noise: no longer
            training removes it.
in short    Measure other columns."""
ATTACK = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>\x1b[31m\u202egnp.exe\u202c$x_1^2$\x00"
"""Markup, quotes, a colour of the terminal, a turned direction of writing, mathematics of TeX, and a zero byte."""
ALL_COUNTS = {"step": np.arange(12.0), "cost": 3.0 + 2.0 * 0.5 ** np.arange(12.0)}
VOID = {"meta", "br", "hr", "img", "link", "input"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def regression_rows(n=60, intervals=True):
    rng = np.random.default_rng(3)
    mean = rng.normal(100.0, 30.0, n)
    measured = mean + 12.0 * rng.standard_normal(n)
    ends = (mean - 20.0, mean + 20.0) if intervals else (None, None)
    return TestRows(measured, mean, *ends, level=0.9)


def class_rows(n=90, n_classes=3):
    rng = np.random.default_rng(4)
    measured = rng.integers(0, n_classes, n)
    scores = rng.standard_normal((n, n_classes))
    scores[np.arange(n), measured] += 2.0
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return TestRows(measured.astype(float), probabilities.argmax(1).astype(float), probabilities=probabilities)


def made(rows=None, classes=(), **changes):
    rows = regression_rows() if rows is None else rows
    facts = ReportFacts(
        data="bridges",
        target="load",
        classes=classes,
        mode="posterior",
        story="From three measurements of 200 bridges their load was predicted.\n\nThen 60 bridges were kept aside.",
        verdict="Better than the mean; not told apart from ridge regression.",
        test=metrics_of(rows),
        left_out=12.5,
        rows=rows,
        comparisons=(
            Comparison("mean", {"rmse": 31.0, "R²": -0.01}, -19.0, 2.1),
            Comparison("ridge regression", {"rmse": 12.1, "R²": 0.86}, 0.2, 0.4),
            Comparison("an oracle", {"rmse": 1.0, "R²": 0.99}, 11.0, 0.9),
        ),
        importance={"span": 0.8, "age": 0.31, "width": 0.0},
        history=ALL_COUNTS,
        kept=9,
        axis="minus the log evidence",
        certificate=CERTIFICATE,
        columns=(("span", "number", "divided by its standard deviation"), ("age", "number", "filled 3 empty cells")),
        choices=(("rows of the test", "25 %", "--test-size"), ("seed", "0", "--seed"), ("delimiter", ",", "")),
        account=("200 rows were read.",),
        notes=("Two columns are nearly the same.",),
    )
    return replace(facts, **changes)


def made_classes(n_classes=3, n=90, **changes):
    letters = tuple("abcdefghijklmnopqrstuvwxyz")[:n_classes]
    return made(class_rows(n, n_classes), letters, **changes)


def attacked():
    """Every text of the facts is an attack."""
    names = [f"{ATTACK}{i}" for i in range(3)]
    texts = {f.name: ATTACK for f in fields(ReportFacts) if f.type in (str, "str")}
    return made(
        **texts,
        comparisons=(Comparison(names[0], {names[1]: 2.0}, 1.0, 0.5),),
        importance={name: 0.1 * i for i, name in enumerate(names)},
        test={names[0]: 1.0},
        columns=((names[0], names[1], names[2]),),
        choices=((names[0], names[1], names[2]),),
        account=(ATTACK,),
        notes=(ATTACK,),
    )


class Elements(HTMLParser):
    """What a page consists of; checks that its tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.headings, self.words, self.open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        if "svg" not in self.open:
            self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)


@cache
def page_of(kind):
    return page({"regression": made, "classes": made_classes, "attacked": attacked}[kind]())


# --- the page as a document -----------------------------------------------------------------------------------------


def assert_is_self_contained(text):
    elements = Elements(text)
    ids = [attributes["id"] for _, attributes in elements.attributes if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert not {"script", "iframe", "object", "link", "form"} & {tag for tag, _ in elements.attributes}
    for tag, attributes in elements.attributes:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            if address := attributes.get(name):
                assert address.startswith("data:image/png;base64,") or address.removeprefix("#") in ids
        for reference in re.findall(r"url\(([^)]*)\)", " ".join(value or "" for value in attributes.values())):
            assert reference.removeprefix("#") in ids
        if tag in ("svg", "img"):
            assert attributes.get("aria-label") or attributes.get("alt")
    assert not re.search(r"(https?|file|ftp)://|@import", text)
    assert elements.headings[0] == 1 and elements.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(elements.headings, elements.headings[1:], strict=False))
    assert len(text.encode()) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "classes", "attacked"])
def test_the_page_needs_nothing_outside_of_it(kind):
    assert_is_self_contained(page_of(kind))


@pytest.mark.slow
def test_no_text_of_a_file_becomes_markup():
    """With hostile texts the page has the tags that it has with harmless ones, and shows each character."""
    harmless = replace(attacked(), **{f.name: "x" for f in fields(ReportFacts) if f.type in (str, "str")})
    hostile = Elements(page_of("attacked"))
    assert hostile.tags == Elements(page(harmless)).tags
    assert hostile.text.count(r"<script>alert(1)</script>") > 15
    assert visible(ATTACK) in hostile.text
    assert visible(ATTACK)[-33:] == r"\x1b[31m\u202egnp.exe\u202c$x_1^2$\x00"[-33:]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", page_of("attacked"))


def test_every_text_field_is_attacked():
    """A text that is added to the facts is attacked in the test above, too."""
    facts = attacked()
    plain = {f.name for f in fields(facts) if "script" not in repr(getattr(facts, f.name))}
    assert plain == {"classes", "left_out", "rows", "history", "kept"}  # Labels of classes have a test of their own.


@pytest.mark.slow
def test_labels_of_classes_are_shown_as_they_are():
    facts = made(class_rows(40, 3), (ATTACK, "$y$", "日本 \u200bא"))
    text = page(facts)
    assert_is_self_contained(text)
    assert "$y$" in Elements(text).text
    assert r"日本 \u200bא" in Elements(text).text


@pytest.mark.slow
def test_long_names_are_cut_where_they_would_fill_the_page():
    facts = made(target="t" * 300, data="d" * 300, importance={"n" * 300: 1.0}, columns=(("c" * 300, "number", ""),))
    text = page(facts)
    assert "c" * 300 in text
    assert not re.search("t{90}|d{90}|n{90}", text)


@pytest.mark.slow
def test_the_same_facts_make_the_same_page_whatever_the_users_style():
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "black", "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        assert page(made()) == page_of("regression")
        assert dict(matplotlib.rcParams) == before


def luminance(colour):
    """Relative, of WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_small_text_has_the_contrast_of_level_aa():
    assert 5.8 < 1.05 / (luminance(MUTED) + 0.05) < 6.0


# --- numbers --------------------------------------------------------------------------------------------------------


def test_metrics_of_a_regression_by_another_path():
    rows = regression_rows()
    found = metrics_of(rows)
    inside = sum(low <= y <= high for low, y, high in zip(rows.lower, rows.measured, rows.upper, strict=True))
    assert found == pytest.approx(
        {
            "rmse": root_mean_squared_error(rows.measured, rows.mean),
            "r2": r2_score(rows.measured, rows.mean),
            "coverage": inside / 60,
        }
    )
    assert list(metrics_of(regression_rows(intervals=False))) == ["rmse", "r2"]


@pytest.mark.parametrize("n_classes", [2, 5, 26])
def test_metrics_of_classes_by_another_path(n_classes):
    rows = class_rows(200, n_classes)
    gap = 0.0
    for low in range(10):
        top = rows.probabilities.max(axis=1)
        held = [i for i in range(200) if low / 10 <= top[i] < (low + 1) / 10 or (low == 9 and top[i] == 1.0)]
        gap += abs(sum(rows.measured[i] == rows.mean[i] for i in held) - sum(top[i] for i in held)) / 200
    assert metrics_of(rows) == pytest.approx(
        {
            "accuracy": accuracy_score(rows.measured, rows.mean),
            "log_loss": log_loss(rows.measured, rows.probabilities, labels=range(n_classes)),
            "ece": gap,
        }
    )
    assert np.array_equal(confusion_of(rows, n_classes), confusion_matrix(rows.measured, rows.mean))


def test_a_class_of_probability_zero_costs_as_much_as_in_scikit_learn():
    rows = TestRows(np.array([0.0, 1.0]), np.array([1.0, 1.0]), probabilities=np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert metrics_of(rows)["log_loss"] == pytest.approx(log_loss([0, 1], rows.probabilities))


def test_the_standard_error_of_the_error_by_another_path():
    rows = regression_rows()
    squares = [(y - m) ** 2 for y, m in zip(rows.measured, rows.mean, strict=True)]
    error, spread = error_of(rows)
    assert spread == pytest.approx(statistics.stdev(squares) / 60**0.5 / (2.0 * error))
    drawn = np.random.default_rng(0).choice(squares, (4_000, 60))
    assert spread == pytest.approx(np.sqrt(drawn.mean(axis=1)).std(), rel=0.05)
    classes = class_rows()
    losses = [-np.log(p[int(y)]) for p, y in zip(classes.probabilities, classes.measured, strict=True)]
    assert error_of(classes) == pytest.approx((statistics.mean(losses), statistics.stdev(losses) / 90**0.5))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_the_main_numbers_are_on_the_page(kind):
    words = Elements(page_of(kind)).text
    head = words[: words.index("How to read it")]
    rows = regression_rows() if kind == "regression" else class_rows()
    if kind == "regression":
        shown = [numeral(root_mean_squared_error(rows.measured, rows.mean)), "12.50", "90 % were promised"]
    else:
        shown = [
            percent(accuracy_score(rows.measured, rows.mean)),
            numeral(log_loss(rows.measured, rows.probabilities)),
        ]
    assert all(number in head for number in shown)


def test_metrics_that_are_not_defined():
    one = TestRows(np.array([2.0]), np.array([1.0]))
    assert metrics_of(one) == pytest.approx({"rmse": 1.0, "r2": np.nan}, nan_ok=True)
    assert np.isnan(error_of(one)[1])
    assert metrics_of(TestRows(np.array([]), np.array([]))) == {}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (57.081, "57.08"),
        (0.52349, "0.5235"),
        (-3.0, "−3.000"),
        (9.99996, "10.00"),
        (123456.7, "123,457"),
        (1.234e-9, "1.23 × 10⁻⁹"),
        (-4e12, "−4.00 × 10¹²"),
        (0.0, "0"),
        (float("nan"), "not known"),
        (float("-inf"), "−∞"),
    ],
)
def test_numbers_have_four_digits(value, shown):
    assert numeral(value) == shown


def test_shares_that_are_not_whole_are_not_rounded_to_whole():
    assert [percent(s) for s in (0.0, 1.0, 0.9999, 0.0001, 0.123)] == ["0 %", "100 %", "> 99.9 %", "< 0.1 %", "12.3 %"]


def test_a_number_ends_where_its_standard_error_does():
    assert with_error(-13.377, 4.638) == ("−13.4", "± 4.6")
    assert with_error(0.00012, 0.0996) == ("0.00", "± 0.10")
    assert with_error(1234.0, 87.0) == ("1,234", "± 87")
    assert with_error(1.0, float("nan")) == ("1.000", "± not known")


def test_ticks_have_no_more_digits_than_they_need():
    assert [tick_text(v) for v in (0.1, -250.0, 12_500.0, 1e-9, 0.0)] == ["0.1", "−250", "12,500", "1 × 10⁻⁹", "0"]


def test_a_name_is_shortened_in_its_middle():
    assert shortened("abcdefghij" * 10, 12) == "abcdefgh…hij"
    assert shortened("short\n") == r"short\n"
    assert shortened("\u202e" * 10, 20) == r"\u202e\u202e…\u202e"
    assert all(len(shortened("ab\x00\u202e" * 40, n)) <= n for n in range(8, 60))


def test_cells_of_a_matrix_are_written_in_the_colour_that_contrasts_more():
    def contrast(share, text):
        cell = to_hex(shades()(share))
        low, high = sorted([luminance(cell), luminance(text)])
        return (high + 0.05) / (low + 0.05)

    for share in np.linspace(0.0, 1.0, 101):
        chosen, other = ("#ffffff", INK) if share > DARK_CELL else (INK, "#ffffff")
        assert contrast(share, chosen) >= 0.98 * contrast(share, other)
        assert contrast(share, chosen) > 3.5


# --- parts ----------------------------------------------------------------------------------------------------------


def words_of(svg):
    return {html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)}


def test_the_fifteen_inputs_that_matter_most_are_drawn_and_the_rest_is_counted():
    scales = {f"input {i}": 1.0 - i / 300 for i in reversed(range(300))}
    picture = importance_picture(scales)
    drawn = {word for word in words_of(picture.svg) if word.startswith("input")}
    assert drawn == {f"input {i}" for i in range(15)}
    assert "285 more inputs have scales of 0.9500 or less" in picture.caption


@pytest.mark.parametrize("scales", [{"only": 0.0}, {"a": float("nan"), "b": 2.0}, {"$x$": 1e-12}])
def test_scales_at_the_edge_are_drawn(scales):
    assert set(scales) <= words_of(importance_picture(scales).svg)


def test_a_history_over_more_than_a_decade_has_a_logarithmic_axis():
    costs = 10.0 ** -np.arange(8.0)
    picture = history_picture({"cost": costs}, 7, "cost")
    assert "logarithmic" in picture.caption
    assert {"0.01", "kept: 1.00 × 10⁻⁷"} <= words_of(picture.svg)


@pytest.mark.parametrize("costs", [[-420.0, -431.0, -431.5], [0.0, 5.0], [7.0], [3.0, 3.0, 3.0], [1e-300, 2e-300]])
def test_the_axis_of_a_history_comes_from_the_data(costs):
    picture = history_picture({"cost": np.array(costs)}, len(costs) - 1, "minus the log evidence")
    assert "logarithmic" not in picture.caption
    assert f"kept: {numeral(costs[-1])}" in words_of(picture.svg)


def test_points_of_a_history_without_a_number_are_left_out_and_counted():
    costs = np.array([np.nan, 4.0, np.inf, 3.0])
    picture = history_picture({"cost": costs, "evaluation": np.array([5.0, 6.0, 7.0, 8.0])}, 3, "cost")
    assert "2 points without a finite number are left out" in picture.caption
    assert "kept is evaluation 8.000 with 3.000" in picture.svg
    for kept in (0, 4, -1):
        assert "the kept point is not among these" in history_picture({"cost": costs}, kept, "cost").caption
    assert "No point" in history_picture({"cost": np.full(3, np.nan)}, 0, "cost").svg


@pytest.mark.parametrize(
    "costs", [10.0 ** np.linspace(-300, 300, 50), np.array([1e308, -1e308, 1.0]), 1.0 / np.arange(1.0, 30_001.0)]
)
def test_histories_that_are_long_or_of_any_size_are_drawn(costs):
    assert "kept: " in " ".join(words_of(history_picture({"cost": costs}, 2, "cost").svg))


@pytest.mark.parametrize("error", [np.nan, np.inf, 0.0])
def test_differences_without_a_standard_error_are_drawn(error):
    comparisons = (Comparison("a", {}, 1.0, error), Comparison("b", {}, np.nan, error))
    assert {"a", "b"} <= words_of(comparisons_picture(comparisons, "rmse").svg)


@pytest.mark.slow
def test_predictions_and_intervals_that_are_not_finite_are_left_out_of_pictures():
    rows = regression_rows(20)
    lost = np.where(np.arange(20) == 3, np.nan, rows.mean)
    assert "not known" in page(made(replace(rows, mean=lost)))
    open_ends = replace(rows, lower=np.full(20, -np.inf), upper=rows.upper + 1e12)
    assert_is_self_contained(page(made(open_ends)))


def test_probabilities_that_are_not_finite_are_refused():
    rows = class_rows(20, 3)
    rows.probabilities[4] = np.nan
    assert np.isnan(metrics_of(rows)["ece"])
    with pytest.raises(InputError, match="1 of 20 test rows have a probability that is not a finite number"):
        page(made(rows, ("a", "b", "c")))


@pytest.mark.slow
def test_what_a_run_does_not_have_is_said_in_a_sentence():
    bare = made(
        regression_rows(5, intervals=False),
        left_out=None,
        comparisons=(),
        importance={},
        history={},
        certificate="",
        choices=(),
        columns=(),
        account=(),
        notes=(),
    )
    text = page(bare)
    assert_is_self_contained(text)
    for sentence in ("states no intervals", "No baselines", "fits no scales", "No history", "No certificate"):
        assert sentence in text
    assert "not estimated from rows that were left out" in text
    assert "no test rows" in page(replace(bare, rows=TestRows(np.array([]), np.array([])), test={}))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_targets_of_any_unit_are_drawn(scale):
    rows = regression_rows(30)
    scaled = TestRows(*(scale * a for a in (rows.measured, rows.mean, rows.lower, rows.upper)))
    assert_is_self_contained(page(made(scaled)))


@pytest.mark.slow
def test_a_constant_prediction_and_a_constant_target_are_drawn():
    same = np.full(8, 2.0)
    text = page(made(TestRows(same, same, same - 1.0, same + 1.0)))
    assert_is_self_contained(text)
    assert "not known" in text


@pytest.mark.slow
def test_of_many_rows_two_thousand_are_drawn_and_all_are_counted():
    text = page(made(regression_rows(50_000)))
    assert_is_self_contained(text)
    assert "2,000 of 50,000 rows, drawn by chance, are shown" in text


@pytest.mark.slow
def test_of_many_rows_of_classes_all_are_counted():
    rows = class_rows(50_000, 3)
    text = page(made(rows, ("a", "b", "c")))
    assert_is_self_contained(text)
    assert f"{int(np.sum(rows.measured == rows.mean)):,} are right" in text


def test_rows_are_drawn_by_chance_once_and_in_order():
    places = drawn_rows(50_000)
    assert len(np.unique(places)) == 2_000
    assert (np.diff(places) > 0).all()
    assert np.array_equal(drawn_rows(7), np.arange(7))


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 26, 40])
def test_the_confusion_matrix_stays_readable(n_classes):
    names = tuple(f"class {i} with a long name" for i in range(n_classes))
    text = page(made(class_rows(2_000, n_classes), names))
    assert_is_self_contained(text)
    matrix = text[text.index("<svg") : text.index("</svg>")]
    found = {word for word in words_of(matrix) if "…" in word}
    assert len(found) == min(n_classes, 26)
    assert ("The 26 classes with most rows of 40 are shown" in text) == (n_classes == 40)


@pytest.mark.parametrize("facts", [made(classes=("a", "b")), made(class_rows(10, 3), ("a", "b"))])
def test_classes_and_probabilities_that_do_not_fit_together_are_refused(facts):
    with pytest.raises(InputError, match=r"asked for 2 classes, but the test rows hold probabilities of [03]"):
        page(facts)


def test_the_left_out_estimate_is_judged_by_the_chance_of_the_test_rows():
    error, spread = error_of(regression_rows())
    sentences = {
        error + 1.9 * spread: "below the estimate: no more than the chance",
        error - 2.1 * spread: "above the estimate: more than two standard errors, so that the test rows may be of",
        error + 2.1 * spread: "below the estimate: more than two standard errors, so that the test rows may be easier",
        float("nan"): "cannot be compared",
    }
    for left_out, sentence in sentences.items():
        assert sentence in left_out_against_test(made(left_out=left_out))


# --- the page in a browser ------------------------------------------------------------------------------------------


def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    return found


def run_browser(folder, text, *options):
    (folder / "page.html").write_text(text, encoding="utf-8")
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=1000", *options, (folder / "page.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "attacked"])
def test_the_page_is_drawn_by_a_browser(kind, tmp_path):
    picture = tmp_path / "page.png"
    run_browser(tmp_path, page_of(kind), "--window-size=900,1400", f"--screenshot={picture}")
    drawn = imread(picture)[..., :3]
    assert drawn.shape[:2] == (1400, 900)
    dark = (drawn.max(axis=2) < 0.5).mean()
    blue = ((drawn[..., 2] > 0.5) & (drawn[..., 0] < 0.2)).mean()
    assert 0.005 < dark < 0.2
    assert blue > 1e-4
    assert (drawn == 1.0).all(axis=2).mean() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "classes", "attacked", "long names"])
def test_a_telephone_needs_no_scrolling_to_the_side(kind, tmp_path):
    if kind == "long names":
        long = "n" * 300
        text = page(made(target=long, data=long, verdict=long, certificate=long, choices=((long, long, long),)))
    else:
        text = page_of(kind)
    frame = f'<iframe id="f" style="border:0;width:400px;height:800px" srcdoc="{html.escape(text)}"></iframe>'
    probe = "<script>onload=()=>{let e=document.getElementById('f').contentDocument.documentElement;"
    probe += "document.title=e.clientWidth+' '+e.scrollWidth}</script>"
    found = run_browser(tmp_path, f"<!DOCTYPE html><title></title>{frame}{probe}", "--dump-dom")
    inner, needed = map(int, re.search(r"<title>(\d+) (\d+)</title>", found).groups())
    assert 380 <= inner <= 400
    assert needed <= inner


def test_an_input_of_two_values_is_not_ranked_by_its_place_in_the_picture():
    """`sex` may stand on top of it, and cannot bend anything by itself."""
    words = page(made(importance={"sex = m": 0.9, "age": 0.3}))
    assert "Along which inputs the prediction bends" in words and "is no rank of importance" in words


def test_the_letters_beside_the_kept_point_do_not_hide_the_curve():
    """Points go on to the right of it, just above."""
    history = {"step": np.arange(28.0), "cost": np.r_[-15.0, -36.0, np.full(12, -131.5), np.full(14, -128.0)]}
    svg = history_picture(history, 13, "cost").svg
    assert "kept: −131.5" in svg and "opacity: 0.7" in svg
