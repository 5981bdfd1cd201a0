"""Token layouts of one band and of several."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skncvqvae._tokens import MASKED, Band, EncodedSeries, TokenLayout

sizes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(2, 5))


@st.composite
def layouts(draw, min_bands=1, max_bands=3):
    bands = draw(st.lists(sizes, min_size=min_bands, max_size=max_bands))
    return TokenLayout(tuple(Band(f"band{i}", *size) for i, size in enumerate(bands)))


def draw_tokens(layout, n, seed):
    """Return rows in which each band has codes of its own."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.integers(layout.codes[band.name].start, layout.codes[band.name].stop, n)
        for band in layout.bands
        for _ in range(band.n_tokens)
    ]
    return np.stack(columns, axis=1)


def test_two_bands_by_hand():
    layout = TokenLayout((Band("low", 1, 2, 3), Band("high", 2, 3, 4)))
    assert (layout.n_tokens, layout.n_codes) == (8, 7)
    assert layout.positions == {"low": slice(0, 2), "high": slice(2, 8)}
    assert layout.codes == {"low": slice(0, 3), "high": slice(3, 7)}
    grids = layout.grids(np.array([[2, 0, 3, 4, 5, 6, 3, 4]]))
    assert grids["low"].tolist() == [[[2, 0]]]
    assert grids["high"].tolist() == [[[3, 4, 5], [6, 3, 4]]]
    assert layout.names()[:3] == ["low_token_0_0", "low_token_0_1", "high_token_0_0"]
    assert layout.names()[-1] == "high_token_1_2"
    allowed = layout.allowed
    assert allowed[:2, :3].all() and allowed[2:, 3:].all() and allowed.sum() == 2 * 3 + 6 * 4


def test_one_band_by_hand():
    layout = TokenLayout((Band("all", 2, 3, 5),))
    assert (layout.n_tokens, layout.n_codes, layout.allowed) == (6, 5, None)
    assert layout.names()[3] == "token_1_0"
    np.testing.assert_array_equal(
        layout.grids(np.arange(6)[None])["all"], [[[0, 1, 2], [3, 4, 5]]]
    )


@given(layout=layouts(), n=st.integers(1, 4), seed=st.integers(0, 99))
def test_bands_share_out_positions_codes_and_names(layout, n, seed):
    tokens = draw_tokens(layout, n, seed)
    assert tokens.shape == (n, layout.n_tokens)
    # Each position and each code belongs to one band, in the order of the bands.
    for parts, total in [(layout.positions, layout.n_tokens), (layout.codes, layout.n_codes)]:
        assert list(parts) == [band.name for band in layout.bands]
        owned = np.concatenate([np.arange(total)[part] for part in parts.values()])
        np.testing.assert_array_equal(owned, np.arange(total))
    # The grids, flattened and put side by side, are the row.
    grids = layout.grids(tokens)
    for band in layout.bands:
        assert grids[band.name].shape == (n, band.rows, band.columns)
    flat = np.hstack([grid.reshape(n, -1) for grid in grids.values()])
    np.testing.assert_array_equal(flat, tokens)
    assert len(set(layout.names())) == len(layout.names()) == layout.n_tokens
    np.testing.assert_array_equal(layout.check(tokens), tokens)


@given(layout=layouts(min_bands=2), seed=st.integers(0, 99))
def test_a_position_is_allowed_the_codes_of_its_band(layout, seed):
    allowed = layout.allowed
    assert allowed.shape == (layout.n_tokens, layout.n_codes)
    tokens = draw_tokens(layout, 5, seed)
    assert allowed[np.arange(layout.n_tokens), tokens].all()
    expected = [band.n_codes for band in layout.bands for _ in range(band.n_tokens)]
    np.testing.assert_array_equal(allowed.sum(axis=1), expected)


@given(layout=layouts(), n_timesteps=st.integers(1, 300), n_widths=st.floats(0, 3))
def test_shifts_are_less_than_so_many_widths_of_the_narrowest_token(layout, n_timesteps, n_widths):
    shift = layout.max_shift(n_timesteps, n_widths)
    width = n_timesteps / max(band.columns for band in layout.bands)
    assert 0 <= shift < n_timesteps
    assert shift < n_widths * width or shift == 0
    # And no more could be added.
    assert shift + 1 >= min(n_widths * width, n_timesteps)


@given(layout=layouts(), seed=st.integers(0, 99), masked=st.booleans())
def test_check_knows_what_is_a_token(layout, seed, masked):
    tokens = draw_tokens(layout, 3, seed)
    checked = layout.check(tokens.astype(float).tolist(), masked=masked)
    assert checked.dtype == np.int64
    np.testing.assert_array_equal(checked, tokens)
    rng = np.random.default_rng(seed)
    place = rng.integers(3), rng.integers(layout.n_tokens)
    for wrong in (layout.n_codes, -2, 0.5):
        spoilt = tokens.astype(float)
        spoilt[place] = wrong
        with pytest.raises(ValueError, match="which is no code"):
            layout.check(spoilt, masked=masked)
    tokens[place] = MASKED
    if masked:
        np.testing.assert_array_equal(layout.check(tokens, masked=True), tokens)
    else:
        with pytest.raises(ValueError, match="tokens hold -1"):
            layout.check(tokens)
    with pytest.raises(ValueError, match=f"but a series has n_tokens_={layout.n_tokens}"):
        layout.check(np.hstack([tokens, tokens[:, :1]]))


@given(layout=layouts(min_bands=2), seed=st.integers(0, 99))
def test_check_refuses_a_code_where_another_band_belongs(layout, seed):
    tokens = draw_tokens(layout, 3, seed)
    rng = np.random.default_rng(seed)
    row, position = rng.integers(3), rng.integers(layout.n_tokens)
    tokens[row, position] = rng.choice(np.flatnonzero(~layout.allowed[position]))
    for masked in (False, True):
        with pytest.raises(ValueError, match=rf"in column {position}, band\d_token.* codes \d"):
            layout.check(tokens, masked=masked)


def test_layouts_are_equal_by_value_and_cannot_be_changed():
    first, again = (TokenLayout((Band("all", 1, 3, 4),)) for _ in range(2))
    assert first == again and hash(first) == hash(again)
    assert first != TokenLayout((Band("all", 1, 3, 5),))
    with pytest.raises(AttributeError):
        first.bands = ()


def test_encoded_series_are_taken_by_index():
    encoded = EncodedSeries(np.arange(24.0).reshape(4, 2, 3), np.arange(8).reshape(4, 2))
    assert len(encoded) == 4
    taken = encoded.take(np.array([2, 0, 2]))
    np.testing.assert_array_equal(taken.series, encoded.series[[2, 0, 2]])
    np.testing.assert_array_equal(taken.tokens, encoded.tokens[[2, 0, 2]])
