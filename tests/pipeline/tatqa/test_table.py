"""Tables as text, in each rendering."""

from __future__ import annotations

import csv
import html.parser
import io

from hypothesis import given
from hypothesis import strategies as st

from pipeline.tatqa import table

CELL = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)


def test_each_rendering_of_a_table() -> None:
    rows = (("", "2019 |", 'a "b", c'), ("Profit\n& loss", "(1,234)", "—"))
    assert table.pipe(rows) == ' | 2019 | | a "b", c\nProfit & loss | (1,234) | —'
    assert table.markdown(rows) == '|  | 2019 \\| | a "b", c |\n| --- | --- | --- |\n| Profit & loss | (1,234) | — |'
    assert table.comma_separated(rows) == ',2019 |,"a ""b"", c"\nProfit & loss,"(1,234)",—'
    assert table.hypertext(rows) == (
        '<table>\n<tr><td></td><td>2019 |</td><td>a "b", c</td></tr>\n'
        "<tr><td>Profit &amp; loss</td><td>(1,234)</td><td>—</td></tr>\n</table>"
    )


def test_headings_write_each_cell_after_its_label_and_its_heading() -> None:
    rows = (
        ("(in millions)", "", "Years ended June 30,", ""),
        ("", "Note", "2019", "2018"),
        ("", "", "unaudited", ""),
        ("Sales", "", "$3,258", "3,321"),
        ("Taxes:", "", "", ""),
        ("State", "", "(12)", ""),
        ("", "", "7", ""),
    )
    assert table.headings(rows) == (
        "(in millions) | Note\n"
        "Sales Years ended June 30, 2019 unaudited: $3,258 | Sales 2018: 3,321\n"
        "Taxes:\n"
        "State Years ended June 30, 2019 unaudited: (12)\n"
        "Years ended June 30, 2019 unaudited: 7"
    )
    assert list(table.named_cells(rows[:4]))[1] == ("3,321", "Sales 2018: 3,321")
    assert table.headings((("", "2019"),)) == "2019"
    assert table.headings((("", ""), ("Sales", ""))) == "Sales"


@given(st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1)))
def test_headings_lose_no_cell(rows: list[list[str]]) -> None:
    text = table.headings(rows)
    assert all(" ".join(cell.split()) in text for row in rows for cell in row)


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=4))
def test_the_standard_library_reads_csv_and_html_back(rows: list[list[str]]) -> None:
    tidy = [[" ".join(cell.split()) for cell in row] for row in rows]
    assert list(csv.reader(io.StringIO(table.comma_separated(rows)))) == tidy

    class Cells(html.parser.HTMLParser):
        cells: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag == "td":
                self.cells.append("")

        def handle_data(self, data: str) -> None:
            if self.cells and data != "\n":
                self.cells[-1] += data

    reader = Cells()
    reader.cells = []
    reader.feed(table.hypertext(rows))
    reader.close()
    assert [cell.rstrip("\n") for cell in reader.cells] == [cell for row in tidy for cell in row]
