"""How long to look for trouble: Hypothesis profiles, chosen by the variable HYPOTHESIS_PROFILE.

`ci` (the default) takes the same examples every time and a few seconds; `medium` takes new ones for a minute or two,
`long` many more.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.too_slow],
)
for name, examples in (("medium", 2_000), ("long", 20_000)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
