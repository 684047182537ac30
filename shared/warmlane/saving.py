"""What a save may be asked for, checked without a model: on the client before anything is enqueued, and in a save.

Source: the guide, "Saving Prompt Templates with Transformer Pipelines" and "Pipelines vs. Component Logging"; the
`llm/v1` tasks are those of MLflow's transformers flavor.
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Mapping, Sequence
from typing import Any

from warmlane.errors import (
    InvalidCodePaths,
    InvalidInput,
    InvalidPromptTemplate,
    InvalidSignature,
    RequirementsConflict,
    TaskConflict,
    UnsupportedInferenceTask,
)

#: Tasks whose inputs a prompt template may frame.
PROMPT_TASKS = ("feature-extraction", "fill-mask", "summarization", "text2text-generation", "text-generation")
#: Task with OpenAI's shapes -> the pipeline task below it.
INFERENCE_TASKS: Mapping[str, str] = {
    "llm/v1/chat": "text-generation",
    "llm/v1/completions": "text-generation",
    "llm/v1/embeddings": "feature-extraction",
}
#: Longest metadata or configuration, as JSON.
MAX_PLAIN_CHARACTERS = 100_000
#: Name of the key under which the metadata of an `MLmodel` file keep a prompt template.
PROMPT_TEMPLATE = "prompt_template"


def pipeline_task(task: str | None) -> str | None:
    """The pipeline task of a task: that below an `llm/v1` task, any other as it is.

    Raises:
        UnsupportedInferenceTask: an `llm/v1` task that there is not.
    """
    if task is None or not task.startswith("llm/v1"):
        return task
    if task not in INFERENCE_TASKS:
        raise UnsupportedInferenceTask(
            f"task: the tasks with OpenAI's shapes are {', '.join(INFERENCE_TASKS)}",
            field="task",
            allowed=list(INFERENCE_TASKS),
        )
    return INFERENCE_TASKS[task]


def check_inference_task(inference_task: str | None, task: str) -> None:
    """Whether a pipeline of `task` serves an `llm/v1` task.

    Raises:
        UnsupportedInferenceTask: it does not; the message lists those that it serves.
    """
    if inference_task is None or pipeline_task(inference_task) == task:
        return
    served = [name for name, below in INFERENCE_TASKS.items() if below == task]
    raise UnsupportedInferenceTask(
        f"task: a {task} pipeline does not serve {inference_task}; it serves {', '.join(served) or 'no llm/v1 task'}",
        field="task",
        allowed=served,
    )


def check_prompt_template(template: object, task: str | None) -> None:
    """A prompt template is a str with exactly one field, `{prompt}`; `{{` and `}}` stand for braces.

    Args:
        task: the pipeline's task; None checks the template alone.

    Raises:
        InvalidPromptTemplate: it is not, or the task takes none.
    """
    if template is None:
        return
    if task is not None and task not in PROMPT_TASKS:
        raise InvalidPromptTemplate(
            f"prompt_template: {task} takes none; only {', '.join(PROMPT_TASKS)} do",
            field=PROMPT_TEMPLATE,
            allowed=list(PROMPT_TASKS),
        )
    if not isinstance(template, str) or _fields(template) != ["prompt"] or not _formats(template):
        raise InvalidPromptTemplate(
            "prompt_template: a str with exactly one field, {prompt}; write {{ and }} for braces of its own",
            field=PROMPT_TEMPLATE,
        )


def _fields(template: str) -> list[str] | None:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError:  # a brace without its partner
        return None


def _formats(template: str) -> bool:
    try:
        template.format(prompt="text")
    except (ValueError, LookupError, AttributeError):
        return False
    return True


def check_plain(name: str, value: object) -> None:
    """What an `MLmodel` file keeps of the saver's: plain data, of a size that is read in no time.

    Raises:
        InvalidInput: it is no mapping with str keys, holds other than JSON has, or is too large.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{name}: expected a dict with str keys", field=name)
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInput(
            f"{name}: plain data only: numbers, texts, booleans, null, lists, dicts", field=name
        ) from exc
    if len(text) > MAX_PLAIN_CHARACTERS:
        raise InvalidInput(f"{name}: longer than {MAX_PLAIN_CHARACTERS} characters; keep it elsewhere", field=name)


def check_options(
    *,
    task: str | None,
    signature: object,
    metadata: Mapping[str, Any],
    model_config: Mapping[str, Any],
    prompt_template: object,
    pip_requirements: object,
    extra_pip_requirements: object,
    conda_env: object,
    code_paths: object,
) -> None:
    """What can be told of a save's arguments by themselves.

    Raises:
        SaveRefused: one of its kinds, naming the argument.
    """
    if task is not None and not isinstance(task, str):
        raise InvalidInput("task: expected a str", field="task")
    check_plain("metadata", metadata)
    check_plain("model_config", model_config)
    below = pipeline_task(task)
    check_prompt_template(prompt_template, below)
    if prompt_template is not None and task == "llm/v1/chat":
        raise InvalidPromptTemplate(
            "prompt_template: messages are framed by the tokenizer's chat template; leave it out, or save as "
            "llm/v1/completions",
            field=PROMPT_TEMPLATE,
        )
    if "task" in metadata and metadata["task"] != task:
        raise TaskConflict(
            "metadata.task: not the task that is saved; leave it out, or give the same as `task`", field="metadata.task"
        )
    if task in INFERENCE_TASKS and signature is not None:
        raise InvalidSignature(
            f"signature: {task} has a signature of its own, that of OpenAI's API; leave it out", field="signature"
        )
    if code_paths is not None and not _texts(code_paths):
        raise InvalidCodePaths("code_paths: a list of files and directories", field="code_paths")
    check_environment(pip_requirements, extra_pip_requirements, conda_env)


def check_environment(pip_requirements: object, extra_pip_requirements: object, conda_env: object) -> None:
    """One of the three at most; a list of requirement lines, or the path of a file of them.

    Raises:
        RequirementsConflict: two are given, or one is of another type.
    """
    given = {
        "pip_requirements": pip_requirements,
        "extra_pip_requirements": extra_pip_requirements,
        "conda_env": conda_env,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise RequirementsConflict(f"{named[1]}: excludes {named[0]}; give one of them", field=named[1])
    for name in named:
        value = given[name]
        allowed = str | dict if name == "conda_env" else str
        if not isinstance(value, allowed) and not (name != "conda_env" and _texts(value)):
            kinds = (
                "a dict or the path of a YAML file" if name == "conda_env" else "a list of str or the path of a file"
            )
            raise RequirementsConflict(f"{name}: {kinds}", field=name)


def _texts(value: object) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return all(isinstance(item, str | os.PathLike) for item in value)
