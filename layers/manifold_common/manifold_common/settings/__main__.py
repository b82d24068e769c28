"""Print the reference page: ``python -m manifold_common.settings > docs/configuration.md``."""

from manifold_common.settings.reference import reference_page

print(reference_page(), end="")
