"""The page with the regions and their totals, as a person uses it: by roles and names, not by markup."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect


class RegionsPage:
    def __init__(self, page: Page, origin: str, token: str | None) -> None:
        """`token`: a bearer token, which the page takes from the address's fragment; None: the address has none."""
        self.page = page
        self._address = origin if token is None else f"{origin}/#token={token}"
        self.token: Locator = page.get_by_label("Bearer token")
        self.sign_in: Locator = page.get_by_role("button", name="Sign in")
        self.table: Locator = page.get_by_role("table", name=re.compile("regions", re.IGNORECASE))
        self.status: Locator = page.get_by_role("status")
        self.retry: Locator = page.get_by_role("button", name=re.compile("again|retry", re.IGNORECASE))

    def open(self) -> None:
        """Open it and wait until it says that it shows figures."""
        self.go()
        expect(self.status).to_contain_text("Updated")

    def go(self) -> None:
        """Load it anew, whatever it then shows."""
        # To an address that differs in its fragment alone a browser goes without loading anything.
        self.page.goto("about:blank")
        self.page.goto(self._address)

    def row(self, city: str) -> Locator:
        return self.table.get_by_role("row").filter(has=self.page.get_by_role("rowheader", name=city))

    def number(self, city: str, column: str) -> str:
        """The text of a region's cell, digits and point alone: `1,234.50` -> `1234.50`."""
        headers = [text.strip() for text in self.table.get_by_role("columnheader").all_inner_texts()]
        index = next(i for i, text in enumerate(headers) if column.lower() in text.lower())
        cell = self.row(city).locator("th, td").nth(index)
        return re.sub(r"[^0-9.]", "", cell.inner_text())
