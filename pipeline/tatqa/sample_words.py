"""What the sample set is made of: invented companies, places and reasons, and the topics of its tables."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

COMPANIES = (
    "Harlow Industries", "Meridian Foods", "Northgate Systems", "Castell Marine", "Orrin Robotics", "Bluefield Energy",
    "Tamar Textiles", "Vantage Optics", "Silverlake Media", "Quarry Hill Cement", "Ashdown Pharma", "Pelham Logistics",
    "Kestrel Networks", "Redwood Paper", "Larkspur Foods", "Osier Chemicals", "Dunmore Rail", "Corvid Semiconductors",
)  # fmt: skip
PLACES = (
    "Leeds", "Gdansk", "Lyon", "Austin", "Osaka", "Porto", "Tampere", "Denver", "Cork", "Pune", "Utrecht", "Graz",
)  # fmt: skip
AUDITORS = ("Hale & Marsh", "Brandt Lowe", "Siddons Partners", "Whitcombe Grey")
REASONS = (
    "higher raw material costs", "the disposal of a subsidiary", "stronger demand in export markets",
    "unfavourable exchange rates", "the opening of a new plant", "lower freight rates", "a change in product mix",
)  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """One kind of table: what its rows are, how large, in which unit."""

    quantity: str  # "net sales", as the questions name it
    verb: str  # "was" or "were", to agree with it
    rows: tuple[str, ...]  # row labels to draw from
    item: str  # what a row is: "segment"
    items: str  # its plural
    scale: str  # TAT-QA scale of the cells
    caption: str  # how the first note states the unit
    low: float  # smallest cell
    high: float  # largest cell
    digits: int  # decimals printed
    dollar: bool = False  # a dollar sign in the first row, as printed reports have it
    signed: bool = False  # a third of the cells are negative, in parentheses

    def draw(self, rng: random.Random) -> Decimal:
        """A value for a cell."""
        step = Decimal(1).scaleb(-self.digits)
        value = Decimal(rng.randint(int(self.low * 10**self.digits), int(self.high * 10**self.digits))) * step
        return -value if self.signed and rng.random() < 1 / 3 else value

    def cell(self, value: Decimal, dollar: bool = False) -> str:
        """A value as a report prints it."""
        text = f"{'$' if dollar else ''}{abs(value):,.{self.digits}f}"
        return f"({text})" if value < 0 else text


TOPICS = (
    Topic("net sales", "were", ("Packaging", "Coatings", "Adhesives", "Services", "Licensing"),
          "segment", "segments", "million", "in millions", 40, 900, 1, True),
    Topic("operating expenses", "were", ("Marketing", "Administration", "Research", "Distribution", "Maintenance"),
          "category", "categories", "thousand", "in thousands", 1200, 98000, 0, True),
    Topic("the tax rate", "was", ("Statutory rate", "Foreign operations", "Research credits", "State taxes"),
          "component", "components", "percent", "in percent", 1, 28, 1),
    Topic("borrowings", "were", ("Term loan", "Senior notes", "Revolving facility", "Lease obligations"),
          "instrument", "instruments", "million", "in millions of dollars", 15, 640, 1, True),
    Topic("headcount", "was", ("Production", "Sales", "Engineering", "Support"),
          "function", "functions", "", "number of employees", 60, 4800, 0),
    Topic("total assets", "were", ("Europe", "Asia Pacific", "North America", "Latin America"),
          "region", "regions", "billion", "in billions", 1, 60, 1, True),
    Topic("the operating result", "was", ("Retail", "Wholesale", "Online", "Franchise"),
          "channel", "channels", "million", "in millions; losses in parentheses", 2, 400, 1, False, True),
    Topic("inventories", "were", ("Raw materials", "Work in progress", "Finished goods", "Spare parts"),
          "class", "classes", "thousand", "in thousands", 800, 45000, 0, True),
    Topic("deferred revenue", "was", ("Subscriptions", "Support contracts", "Training", "Warranties"),
          "source", "sources", "thousand", "in thousands of dollars", 300, 20000, 0),
    Topic("the gross margin", "was", ("Hardware", "Software", "Consulting", "Leasing"),
          "product line", "product lines", "percent", "in percent of sales", 12, 80, 1),
    Topic("capital expenditure", "was", ("Land", "Buildings", "Machinery", "Vehicles"),
          "asset class", "asset classes", "million", "in millions", 2, 300, 1, True),
    Topic("cash flow", "was", ("Operating", "Investing", "Financing", "Discontinued"),
          "activity", "activities", "thousand", "in thousands; outflows in parentheses", 500, 60000, 0, False, True),
)  # fmt: skip

HARD_TOPICS = (
    Topic("the order backlog", "was", ("Rotorcraft", "Avionics", "Satellites", "Simulators", "Drones"),
          "programme", "programmes", "million", "in millions", 20, 950, 1, True),
    Topic("research grants", "were", ("Health", "Transport", "Agriculture", "Housing", "Oceans"),
          "field", "fields", "thousand", "in thousands", 400, 70000, 0, True),
    Topic("the fair value adjustment", "was", ("Swaps", "Options", "Forwards", "Warrants", "Pledges"),
          "contract type", "contract types", "million", "in millions; losses in parentheses", 1, 90, 1, False, True),
    Topic("the occupancy rate", "was", ("Offices", "Hotels", "Car parks", "Clinics", "Student flats"),
          "property type", "property types", "percent", "in percent", 20, 99, 1),
)  # fmt: skip
