"""A module that is there and imports one that is not."""

import no_such_package_at_all  # noqa: F401
