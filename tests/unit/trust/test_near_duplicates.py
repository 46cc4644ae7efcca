import numpy as np
import pytest

from boltz_core.trust.errors import TrustError
from boltz_core.trust.near_duplicates import near_duplicate_groups


def gram_of_angles(*degrees):
    rows = np.array([[np.cos(np.radians(angle)), np.sin(np.radians(angle))] for angle in degrees])
    gram = rows @ rows.T
    return (gram + gram.T) / 2


def test_rows_that_differ_are_no_group():
    assert near_duplicate_groups(gram_of_angles(0, 30, 60)) == ()


def test_the_threshold_lies_at_a_cosine_of_98_hundredths():
    assert near_duplicate_groups(gram_of_angles(0, 11, 90)) == ((0, 1),)
    assert near_duplicate_groups(gram_of_angles(0, 12, 90)) == ()


def test_opposite_rows_are_no_duplicates():
    assert near_duplicate_groups(gram_of_angles(0, 180)) == ()


def test_links_add_up():
    assert near_duplicate_groups(gram_of_angles(20, 90, 0, 10)) == ((0, 2, 3),)


def test_groups_come_in_the_order_of_their_first_rows():
    assert near_duplicate_groups(gram_of_angles(0, 90, 1, 180, 91)) == ((0, 2), (1, 4))


def test_length_does_not_matter():
    assert near_duplicate_groups(np.array([[1.0, 1e3], [1e3, 1e6]])) == ((0, 1),)


def test_rows_of_zeros_are_nobodys_duplicates():
    assert near_duplicate_groups(np.zeros((3, 3))) == ()


def test_what_is_no_gram_matrix_is_refused():
    with pytest.raises(TrustError, match="symmetric"):
        near_duplicate_groups(np.array([[1.0, 0.5], [0.0, 1.0]]))
