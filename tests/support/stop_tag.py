"""The stop tag, typed on a run's page of the MLflow UI."""

import time


def type_stop_tag(page, server, run_id):
    """Type the tag on the page of a run of experiment 0, as a user does; it is not saved yet."""
    page.goto("about:blank")  # a change of the fragment alone does not reload the page
    page.goto(f"{server}/#/experiments/0/runs/{run_id}/overview?workflowType=machine_learning")
    page.get_by_role("button", name="Edit tags").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("sysmetrics.stop")
    page.keyboard.press("Enter")
    dialog.get_by_placeholder("Type a value").fill("enough")
    dialog.get_by_role("button", name="Add tag").click()


def save_tags(page):
    """Save it; return when, in seconds since 1970."""
    saved = time.time()
    page.get_by_role("dialog").get_by_role("button", name="Save tags").click()
    return saved
