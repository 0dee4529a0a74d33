"""The statements for pages."""

from system.store.item_sql import page


def test_parameters_are_numbered_in_the_order_in_which_they_are_given() -> None:
    statement = page("projects", ("region", "status"), first=False)
    assert "where region = $2 and status = $3 and (projects.id) > ($4) order by projects.id asc limit $1" in statement


def test_a_first_page_without_filters_has_no_condition() -> None:
    assert "where" not in page("countries", (), first=True)


def test_a_page_in_another_order_starts_after_value_and_id() -> None:
    statement = page("projects", ("sector",), "-name", first=False)
    assert "(projects.name, projects.id) < ($3, $4) order by projects.name desc, projects.id desc" in statement
