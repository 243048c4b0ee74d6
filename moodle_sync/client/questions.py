"""Several questions to Moodle, in one call where its batch function is available.

Moodle answers a batch up to the first request that fails and leaves out the rest (docs/moodle-api.md, "Calling a
function"). So the rest is asked again in the next call.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from outbound_http import AnswerTooLarge, decode_json

from . import functions
from .connection import MoodleConnection, too_many_values, wrong_shape
from .errors import (
    MoodleError,
    MoodleGone,
    MoodleLearnerGone,
    MoodleNoCriteria,
    MoodleNotAllowed,
    MoodleSomethingGone,
    MoodleTokenRefused,
    MoodleUnavailable,
    MoodleUnexpected,
    MoodleUnreadable,
    from_answer,
)
from .records import CompletionStatus, Grade, User, as_list, as_object
from .translation import gettext_noop

# Questions in one call: about a second of Moodle's time.
BATCH_SIZE = 50

_ODD_ANSWER = gettext_noop(
    "Moodle answered with something that the portal cannot read. Look at this learner's profile, completion and grades "
    "in Moodle; if they are in order, report it with Moodle's version."
)


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a function, with the parser of its answer.

    `course_id` is the course that the question is about, if any. `settings` are those of the call.
    """

    function: str
    params: Mapping[str, Any]
    parse: Callable[[Any], Any]
    course_id: int | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def scope(self) -> tuple[str, int | None]:
        """The function and the course: an error about the course concerns all questions of one scope."""
        return self.function, self.course_id

    @property
    def key(self) -> tuple[str, int | None, Any]:
        """The function, the course and the user of a question about one learner."""
        return self.function, self.course_id, self.params["userid"]


def learner_question(function: str, course_id: int, user_id: int) -> Question:
    """The question for the completion (functions.COMPLETION) or the grade (functions.GRADES) of one learner."""
    parse = (
        CompletionStatus.from_json if function == functions.COMPLETION else partial(Grade.from_json, user_id=user_id)
    )
    return Question(function, {"courseid": course_id, "userid": user_id}, parse, course_id)


def accounts_question(ids: Sequence[int]) -> Question:
    """The question for the accounts with these ids. The answer lacks those that the token may not see."""
    return Question(functions.USERS, {"field": "id", "values": ids}, partial(_users_among, ids=frozenset(ids)))


def _users_among(data: Any, *, ids: Collection[int]) -> dict[int, User]:
    users = [User.from_json(item) for item in as_list(data, "the answer")]
    return {user.id: user for user in users if user.id in ids}


def ask_each(connection: MoodleConnection, questions: Sequence[Question], *, size: int) -> list[Any]:
    """The parsed answer to each question, or the MoodleError in its place, with `size` questions in one call.

    Raises an error that concerns the whole site. An error that concerns a whole course is also the answer to all
    further questions of the same scope, which are not asked.
    """
    answers: list[Any] = [None] * len(questions)
    waiting = list(range(len(questions)))
    while waiting:
        batch = [questions[number] for number in waiting[:size]]
        received = _batch(connection, batch) if size > 1 else [_single(connection, batch[0])]
        for number, answer in zip(waiting, received, strict=False):
            answers[number] = answer
        last, waiting = waiting[len(received) - 1], waiting[len(received) :]
        error = answers[last]
        if isinstance(error, MoodleError) and concerns_course(error):
            same_scope = {number for number in waiting if questions[number].scope == questions[last].scope}
            for number in same_scope:
                answers[number] = error
            waiting = [number for number in waiting if number not in same_scope]
    return answers


def _single(connection: MoodleConnection, question: Question) -> Any:
    try:
        return _parsed(question, connection.call(question.function, question.params, question.settings))
    except MoodleError as error:
        if _concerns_site(error):
            raise
        return error


def _batch(connection: MoodleConnection, questions: Sequence[Question]) -> list[Any]:
    """Answers to the first questions, up to and including the first that failed. Raises for the whole site."""
    requests = [
        # The settings of the call itself do not reach the requests in it.
        {
            "function": question.function,
            "arguments": json.dumps(question.params),
            **{name.removeprefix("moodlews"): value for name, value in question.settings},
        }
        for question in questions
    ]
    responses = connection.ask(functions.BATCH, {"requests": requests}, _responses)
    stopped = bool(responses) and responses[-1][0]
    if not responses or len(responses) > len(questions) or (len(responses) < len(questions) and not stopped):
        raise wrong_shape(functions.BATCH, "an answer to each request expected")
    answers: list[Any] = []
    # One text at a time, to save memory: the decoded JSON is much larger than the record made of it.
    for question, (failed, text) in zip(questions, responses, strict=False):
        answer = _decoded(text)
        if failed:
            unknown = MoodleUnreadable(question.function, advice=_ODD_ANSWER)
            answers.append(from_answer(question.function, answer) or unknown)
        else:
            answers.append(_parsed(question, answer))
        if isinstance(answers[-1], MoodleUnavailable | MoodleTokenRefused):
            raise answers[-1]
    return answers


def _parsed(question: Question, answer: Any) -> Any:
    """The parsed answer. A wrong shape is an error about this question only."""
    try:
        return question.parse(answer)
    except ValueError as error:
        return MoodleUnreadable(question.function, failure=f"answer of a wrong shape, {error}", advice=_ODD_ANSWER)


def _responses(data: Any) -> list[tuple[bool, str]]:
    return [_response(item) for item in as_list(as_object(data, "the answer").get("responses"), "responses")]


def _response(data: Any) -> tuple[bool, str]:
    """Whether one request of a batch failed, and the JSON text of its exception or its answer."""
    response = as_object(data, "a response")
    failed = bool(response.get("error"))
    text = response.get("exception" if failed else "data")
    if not isinstance(text, str):
        raise ValueError("JSON in a text expected for each response")
    return failed, text


def _decoded(text: str) -> Any:
    """The value of the JSON text in a response of a batch."""
    try:
        return decode_json(text.encode())
    except AnswerTooLarge:
        raise too_many_values(functions.BATCH) from None
    except ValueError:
        raise wrong_shape(functions.BATCH, "JSON in a text expected for each response") from None


def _concerns_site(error: MoodleError) -> bool:
    """Whether every other call would fail too. An unknown errorcode may be about one learner."""
    if isinstance(error, MoodleUnexpected):
        return not error.errorcode
    return isinstance(error, MoodleUnavailable | MoodleTokenRefused)


def concerns_course(error: MoodleError) -> bool:
    """Whether the question would fail for every learner of the course."""
    if isinstance(error, MoodleGone):
        return not isinstance(error, MoodleLearnerGone | MoodleSomethingGone)
    return isinstance(error, MoodleNotAllowed | MoodleNoCriteria)


def spoils_list(error: MoodleError) -> bool:
    """Whether Moodle refused a list because of one person in it: a deleted one, or one with a tag in the name."""
    return isinstance(error, MoodleLearnerGone | MoodleSomethingGone) or error.errorcode == "invalidresponse"
