"""The web-service functions of Moodle that the portal calls.

This is the only list of them: the check, its findings and all messages take the names from here. How the functions
behave is described in docs/moodle-api.md.
"""

from dataclasses import dataclass

from .translation import gettext_noop

SITE_INFO = "core_webservice_get_site_info"
COURSES = "core_course_get_courses_by_field"
ENROLLED_USERS = "core_enrol_get_enrolled_users"
USERS = "core_user_get_users_by_field"
COMPLETION = "core_completion_get_course_completion_status"
GRADES = "gradereport_user_get_grade_items"
LIST_REPORTS = "core_reportbuilder_list_reports"
RETRIEVE_REPORT = "core_reportbuilder_retrieve_report"
SET_FILTERS = "core_reportbuilder_set_filters"
BATCH = "tool_mobile_call_external_functions"
CONFIG = "tool_mobile_get_config"

# The two ways to read completions: from the agreed report, or learner by learner.
REPORT_FEED = "A"
LEARNER_FEED = "B"


@dataclass(frozen=True, slots=True)
class Need:
    """Why the service should contain a function.

    `feed` is the feed that cannot work without the function, or "". `loss` tells an admin what is missing without it.
    """

    function: str
    feed: str
    loss: str


# All functions but SITE_INFO, which every check begins with.
NEEDS = (
    Need(LIST_REPORTS, REPORT_FEED, gettext_noop("the report cannot be found")),
    Need(RETRIEVE_REPORT, REPORT_FEED, gettext_noop("the report cannot be read")),
    Need(SET_FILTERS, REPORT_FEED, gettext_noop("the report cannot be limited to new completions")),
    Need(
        ENROLLED_USERS,
        LEARNER_FEED,
        gettext_noop("participants cannot be listed, which is needed where there is no report"),
    ),
    Need(
        COMPLETION,
        LEARNER_FEED,
        gettext_noop(
            "completions have no exact time, undone ones are noticed late, and nothing can be read without the report"
        ),
    ),
    Need(COURSES, "", gettext_noop("courses cannot be listed to choose from")),
    Need(GRADES, "", gettext_noop("badges are issued without a score")),
    Need(
        USERS,
        "",
        gettext_noop("names and addresses may not be exact, and suspended and deleted accounts are not noticed"),
    ),
    Need(BATCH, "", gettext_noop("every learner costs a call")),
    Need(CONFIG, "", gettext_noop("the time zone of the report's times is unknown")),
)

# The functions that each feed cannot work without.
REPORT_FUNCTIONS = frozenset(need.function for need in NEEDS if need.feed == REPORT_FEED)
LEARNER_FUNCTIONS = frozenset(need.function for need in NEEDS if need.feed == LEARNER_FEED)

# Functions that answer `invalidrecord` for an unknown course or report. From any other function that errorcode says
# that Moodle does not know the function.
LOOKUPS = frozenset({ENROLLED_USERS, COMPLETION, GRADES, RETRIEVE_REPORT, SET_FILTERS})
