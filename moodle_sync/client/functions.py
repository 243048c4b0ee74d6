"""The names of Moodle's web-service functions that the portal calls."""

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

REPORT_FUNCTIONS = frozenset({LIST_REPORTS, RETRIEVE_REPORT, SET_FILTERS})
LEARNER_FUNCTIONS = frozenset({ENROLLED_USERS, COMPLETION})
