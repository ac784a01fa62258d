"""A step whose output changes must get a new revision. Otherwise old products are kept."""

import json

import golden
import pytest
from st1k4m.run.steps import PRODUCTS


@pytest.fixture(scope="module")
def made():
    return golden.make()


@pytest.mark.parametrize("step", golden.RECORDED)
def test_output_is_that_of_its_revision(made, step):
    known = json.loads(golden.GOLDEN.read_text())
    changes, raised = golden.find_changes(known, made), golden.find_raised(known)
    changed = changes[step]
    earlier = [other for other in golden.led_to(step) - {step} if changes.get(other)]
    if changed and earlier and not raised:
        pytest.skip(f"{', '.join(sorted(earlier))} changed, and this step makes use of it")
    if changed and not raised & golden.led_to(step):
        pytest.fail(
            f"{step} makes something else than revision {golden.RECORDED[step]} did: "
            f"{', '.join(changed[:5])}{' ...' if changed[5:] else ''}.\n"
            f"If it should not, fix it. If it should, raise the step's revision in "
            "scripts/st1k4m/run/steps.py, so that users' results are made again, and record the "
            "new output: python tests/golden.py"
        )
    if changed or step in raised:
        pytest.fail(f"record what {step} now makes: python tests/golden.py")


def test_every_step_has_a_revision_and_a_product():
    fetches = {step for step in PRODUCTS if step.startswith("fetch")}
    assert set(golden.RECORDED) == set(golden.PATHS) - fetches
