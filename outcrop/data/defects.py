"""THE table of defects: every code a data problem can have, how bad it is, what it means and what to do.

An error makes its row unusable; a warning leaves the row in and says what may go wrong with it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Defect(NamedTuple):
    """One kind of problem."""

    severity: Severity
    meaning: str
    remedy: str


def _error(meaning: str, remedy: str) -> Defect:
    return Defect("error", meaning, remedy)


def _warning(meaning: str, remedy: str) -> Defect:
    return Defect("warning", meaning, remedy)


DEFECTS: dict[str, Defect] = {
    # Files
    "empty-file": _error("the file holds no rows", "Give a file with rows, or leave this one out."),
    "broken-compression": _error("the compressed file is damaged or cut off", "Copy or compress it again."),
    "decompression-bomb": _error(
        "the compressed file unpacks to far more than its size", "Check it; if it is data, unpack it first."
    ),
    "broken-parquet": _error("the file is not readable as Parquet", "Write it again, or check its name."),
    "unknown-format": _error(
        "the rows have no known record format",
        "Name the columns with --map, for instance --map prompt=text,completion=label, or --map text=text.",
    ),
    "format-mismatch": _error("a row has another format than its file", "Keep one format per file."),
    "not-utf8": _error("the bytes are not UTF-8", "Save the file as UTF-8."),
    "unusable-invocation": _warning(
        "a logged invocation has nothing to learn from", "Have texts logged, and leave failed requests out."
    ),
    "bom": _warning("a byte order mark stands before the text", "Save the file as UTF-8 without BOM."),
    # Lines
    "blank-line": _warning("the line is blank", "Delete it; other readers of JSON lines refuse it."),
    "line-too-long": _error("the line or document is longer than the limit", "Split it into several rows."),
    "bad-json": _error("the line is not valid JSON", "Write one JSON object per line, with a JSON library."),
    "duplicate-key": _error("a name occurs twice, so one value would be lost", "Keep one of them."),
    "not-a-number": _error("NaN and Infinity are not JSON and not data", "Leave the value out, or write null."),
    "too-many-keys": _error("a row has too many keys", "Keep the columns that are used."),
    "too-deep": _error("the JSON is nested too deeply", "Flatten it."),
    "bad-csv": _error("the table's quoting is broken", 'Quote cells with " and double every quote inside.'),
    "ragged-row": _error(
        "the row has another number of cells than the header", "Quote cells that contain the separator."
    ),
    # Fields
    "missing-field": _error("a field is missing", "Add it, or correct its name."),
    "wrong-type": _error("a field has the wrong type", "Write the type that the format asks for."),
    "wrong-value": _error("a field has a value that is not allowed", "Use an allowed value."),
    "null-content": _error("a text is null", "Write the text, or delete the row."),
    "empty-content": _error("a text is empty", "Write the text, or delete the row."),
    "whitespace-only": _error("a text is only white space", "Write the text, or delete the row."),
    "nul-character": _error("a text contains the character NUL", "Remove it; many programs end a text there."),
    "lone-surrogate": _error("a text contains half a character, which UTF-8 cannot hold", "Remove or repair it."),
    "control-character": _warning(
        "a text contains control characters", "Remove them unless the model should learn them."
    ),
    "ignored-key": _warning("a key is not used", "Remove it, or correct its name."),
    "unsupported-part": _error("only text can be learned", "Leave out images, files and other parts."),
    # Conversations
    "unknown-role": _error("a role is not known", "Use system, user and assistant, or name your roles with --roles."),
    "two-systems": _error("there is more than one system message", "Join them into one."),
    "system-not-first": _error("the system message is not the first", "Move it to the front."),
    "first-turn-assistant": _error("the conversation begins with the assistant", "Begin with a user turn."),
    "roles-not-alternating": _error(
        "two turns in a row have the same role", "Join them, or add the turn between them."
    ),
    "missing-assistant": _error("no assistant turn to learn from", "Add the answer, or delete the row."),
    "last-turn-user": _error("the last turn is the user's", "Add the answer, or cut the last turn."),
    "nothing-to-learn": _error("every assistant turn has weight 0", "Give at least one the weight 1."),
    "reserved-string": _error('"\\nHuman:" and "\\nAssistant:" are reserved in this format', "Reword the text."),
    "tools-unsupported": _error("tools and tool calls cannot be trained yet", "Leave these rows out."),
    "tool-without-schema": _error("a tool has no schema", "Declare it under tools with name and parameters."),
    "tool-call-without-result": _error(
        "no tool message answers a tool call", "Add a tool message with its tool_call_id."
    ),
    "invalid-tool-arguments": _error(
        "a tool call's arguments are not a JSON object", "Write the arguments as JSON text."
    ),
    # Lengths
    "over-long": _error("the row is too long; the end of its answer would be cut", "Shorten it, or raise the limit."),
    "completion-cut": _error("the prompt fills the limit; the whole answer would be cut", "Shorten the prompt."),
    # Repetition, leaks
    "exact-duplicate": _warning("the same prompt and answer occurred before", "Delete the copies."),
    "near-duplicate": _warning("an almost equal prompt occurred before", "Delete the copies, or split by groups."),
    "conflicting-answers": _warning("the same prompt has another answer elsewhere", "Decide which answer is right."),
    "answer-is-prompt": _warning("the answer repeats the prompt and nothing else", "Check the columns."),
    "prompt-leak": _warning("the answer contains the whole prompt", "Keep only the answer in the completion."),
    "train-test-overlap": _error(
        "a prompt is also in the other file", "Remove it from one of them; the score would be false."
    ),
    "near-overlap": _warning("an almost equal prompt is in the other file", "Split with outcrop data split."),
    # Labels and balance
    "label-outside-set": _error("the answer is not one of the labels", "Correct the label, or add it to the set."),
    "rare-label": _warning("a label has few rows", "Add examples, or join it with another label."),
    "label-variant": _warning(
        "a label is another one in all but case, spacing or signs", "Write both the same way; a model sees two labels."
    ),
    "near-conflict": _warning("an almost equal prompt has another label", "Decide which label is right."),
    "label-drift": _warning(
        "a label is far more or less frequent in one file than in the others", "Mix the files, or find out why."
    ),
    "label-doubt": _warning(
        "a model trained on the other rows contradicts the label", "Read the row and decide which label is right."
    ),
    "number-as-label": _warning("labels are numbers, whose meaning a model cannot read", "Use words as labels."),
    "too-few-rows": _warning("there are few rows", "Add rows; few rows give a wide interval on every score."),
    "language-mix": _warning("a row is in another language than most", "Intended? If not, remove these rows."),
    # Content
    "special-token": _warning(
        "a text contains a chat template's control token", "Remove it; it can end or forge a turn."
    ),
    "pii-email": _warning("an e-mail address", "Anonymise it."),
    "pii-phone": _warning("a phone number", "Anonymise it."),
    "pii-card": _warning("a payment card number", "Anonymise it."),
    "pii-iban": _warning("a bank account number (IBAN)", "Anonymise it."),
    "secret-aws-key": _warning("an AWS access key", "Revoke the key, then remove it."),
    "secret-private-key": _warning("a private key", "Revoke the key, then remove it."),
    "secret-jwt": _warning("a signed token (JWT)", "Revoke the token, then remove it."),
}
