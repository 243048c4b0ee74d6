"""The permissions that pages of the admin ask of their readers: of all in a tuple, each. The menu asks the same.

Apart from the pages, because the menu is loaded before the admin.
"""

# How the portal is doing, on the start page and as a list of problems.
PROBLEMS = ("badging.view_issuance", "badging.view_navigatrconnection", "moodle_sync.view_moodlesite")
# All that the five steps need.
SET_UP = (
    "badging.add_navigatrconnection",
    "moodle_sync.add_moodlesite",
    "badging.change_coursebadgemapping",
    "badging.view_issuance",
)
LEARNER_BADGE = ("moodle_sync.view_learner", "badging.view_issuance")
VERIFICATION = (
    "badging.view_issuance",
    "badging.view_coursebadgemapping",
    "moodle_sync.view_learner",
    "moodle_sync.view_completion",
)
PRIVACY = ("moodle_sync.view_learner", "badging.view_auditentry")
