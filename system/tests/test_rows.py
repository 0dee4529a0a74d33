"""The statements for pages."""

from system.store.rows import page


def test_parameters_are_numbered_in_the_order_in_which_they_are_given() -> None:
    statement = page("projects", ("region", "status"), first=False)
    assert "where region = $2 and status = $3 and id > $4 order by projects.id limit $1" in statement


def test_a_first_page_without_filters_has_no_condition() -> None:
    assert "where" not in page("countries", (), first=True)
