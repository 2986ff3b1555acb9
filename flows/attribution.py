"""The attribution flow: what listeners made of their lists, by itself; a nightly run does the same at its end."""

# No postponed annotations in this module: Prefect reads them when it makes the parameter schema.

from prefect import flow

from features.attribution.attribute import Attributed
from features.database import open_database
from features.release.ledger import hold_lease
from features.settings import get_settings
from flows.nightly import attribute


@flow(name="attribution", validate_parameters=True)
def attribution() -> Attributed:
    """Fills the feedback of all lists that have not expired, and the scorecards of their releases.

    Raises:
        InputError: somebody was erased and the key is missing or another.
        DatabaseError: the database can't be reached after retries, or refuses.
        BusyError: another run is at work.
    """
    with open_database(get_settings()) as database, hold_lease(database) as token:
        return attribute(token)  # type: ignore[no-any-return]
