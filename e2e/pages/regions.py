"""The page with the regions and their totals, found by roles and names as a user sees them, and not by markup."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect


class RegionsPage:
    def __init__(self, page: Page, origin: str, token: str | None) -> None:
        """`token`: a bearer token, which is put into the address's fragment; None for an address without one."""
        self.page = page
        self._address = origin if token is None else f"{origin}/#token={token}"
        self.token: Locator = page.get_by_label("Bearer token")
        self.sign_in: Locator = page.get_by_role("button", name="Sign in")
        self.table: Locator = page.get_by_role("table", name=re.compile("regions", re.IGNORECASE))
        self.status: Locator = page.get_by_role("status")
        self.retry: Locator = page.get_by_role("button", name=re.compile("again|retry", re.IGNORECASE))

    def open(self) -> None:
        """Load the page, and wait until it says that its figures are up to date."""
        self.go()
        expect(self.status).to_contain_text("Updated")

    def go(self) -> None:
        """Load the page again, and do not wait for its figures."""
        # A browser would not load the page again for an address that differs in its fragment alone.
        self.page.goto("about:blank")
        self.page.goto(self._address)

    def row(self, city: str) -> Locator:
        """The row of a region, by its city."""
        return self.table.get_by_role("row").filter(has=self.page.get_by_role("rowheader", name=city))

    def number(self, city: str, column: str) -> str:
        """The number in a region's cell as text, with digits and point alone: `1,234.50` -> `1234.50`."""
        headers = [text.strip() for text in self.table.get_by_role("columnheader").all_inner_texts()]
        index = next(i for i, text in enumerate(headers) if column.lower() in text.lower())
        cell = self.row(city).locator("th, td").nth(index)
        return re.sub(r"[^0-9.]", "", cell.inner_text())
