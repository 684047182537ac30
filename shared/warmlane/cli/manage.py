"""Commands that change what is stored or warm: save, persist, alias, delete, load, unload. Each enqueues one job and
waits for it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from warmlane.cli import _show
from warmlane.cli._args import add_handling, file_text, handling, json_object, json_value, pair, seconds
from warmlane.cli._exit import Exit
from warmlane.cli._shell import Shell
from warmlane.cli._wait import wait
from warmlane.client import Client, Job
from warmlane.errors import InvalidInput
from warmlane.jobs import COMPONENTS, RETURN_TYPES
from warmlane.model import DTYPES

#: Options of a save that the client takes as they are.
_AS_GIVEN = (
    *("processor", "prompt_template", "model_config", "signature", "input_example"),
    *("pip_requirements", "extra_pip_requirements", "code_paths", "base_model_path"),
)


def add(commands: Any) -> None:
    """Add the parsers."""
    _add_save(commands.add_parser("save", help="publish a new version of a model"))
    _add_load(commands.add_parser("load", help="warm a model"))
    for name, enqueue, text in (
        ("persist", _persist, "fetch the weights of a model that was saved by reference"),
        ("unload", _unload, "free a model on every worker that holds it"),
    ):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("model", help="name, name/3 or name@alias")
        _awaited(parser, enqueue)
    alias = commands.add_parser("alias", help="let name@ALIAS mean a version of a model")
    alias.add_argument("model", help="name/3; name is its newest version, name@other what that means now")
    alias.add_argument("alias", help="such as prod; one that there is moves")
    _awaited(alias, lambda args, client: client.alias(args.model, args.alias))
    delete = commands.add_parser("delete", help="delete a version, a model or an alias")
    delete.add_argument("model", help="name/3; name with all its versions and aliases; name@alias without its version")
    _awaited(delete, lambda args, client: client.delete(args.model))


def _add_save(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the model's name")
    parser.add_argument("source", nargs="?", help="a directory that the worker can see, or a hub id")
    parser.add_argument(
        "--component",
        action="append",
        default=[],
        type=pair,
        metavar="NAME=SOURCE",
        help=f"a part with a source of its own, once for each; NAME is one of {', '.join(COMPONENTS)}",
    )
    parser.add_argument("--task", help="the pipeline's task; default: what the source tells")
    parser.add_argument("--dtype", metavar="TYPE", help=f"recorded as the type to load in: {', '.join(DTYPES)}")
    parser.add_argument("--reference-only", action="store_true", help="store the hub's name and commit, no weights")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--metadata", nargs="+", action="extend", default=[], type=pair, metavar="NAME=VALUE")
    parser.add_argument("--processor", metavar="SOURCE", help="a processor's directory or hub id")
    parser.add_argument("--prompt-template", metavar="TEXT", help="frames each input; exactly one {prompt}")
    parser.add_argument("--model-config", type=json_object, metavar="JSON", help="parameters of every predict")
    parser.add_argument("--signature", type=json_object, metavar="JSON", help="inputs, outputs and params")
    parser.add_argument("--input-example", type=json_value, metavar="JSON", help="one prediction on it: the signature")
    parser.add_argument("--model-card", type=file_text, metavar="FILE", help="a card's text")
    parser.add_argument("--pip-requirements", nargs="+", metavar="LINE", help="the environment, as pip reads it")
    parser.add_argument("--extra-pip-requirements", nargs="+", metavar="LINE", help="beside what is found")
    parser.add_argument("--code-paths", nargs="+", metavar="PATH", help="files and directories to keep under code/")
    parser.add_argument("--base-model-path", metavar="DIR", help="an adapter's base, referred to by its path")
    _trusting(parser)
    _awaited(parser, _save)


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="name, name/3 or name@alias")
    parser.add_argument("--dtype", metavar="TYPE", help=f"instead of the recorded type: {', '.join(DTYPES)}")
    parser.add_argument("--pin", action="store_true", help="keep it warm until it is unloaded")
    parser.add_argument("--return-type", choices=RETURN_TYPES, default="pipeline")
    parser.add_argument("--model-config", type=json_object, metavar="JSON", help="parameters of every predict")
    _trusting(parser)
    add_handling(parser, "a load")
    _awaited(parser, _load)


def _trusting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="allow the model's own code; the worker has to allow it too"
    )


def _awaited(parser: argparse.ArgumentParser, enqueue: Callable[[argparse.Namespace, Client], Job]) -> None:
    parser.add_argument("--no-wait", action="store_true", help="print the job's id and return")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="wait at most so long; default: until it is done")
    parser.set_defaults(run=partial(_run, enqueue))


def _run(enqueue: Callable[[argparse.Namespace, Client], Job], args: argparse.Namespace, shell: Shell) -> int:
    job = enqueue(args, shell.client)
    if args.no_wait:
        shell.answer({"id": job.id}, lambda: print(job.id))
    else:
        report = wait(shell, job, args.command, args.timeout)
        shell.answer(report, lambda: _show.value(report))
    return Exit.OK


def _save(args: argparse.Namespace, client: Client) -> Job:
    parts = dict(args.component)
    if args.source is not None and parts:
        parts.setdefault("model", args.source)
    source = parts or args.source
    if not source:
        raise InvalidInput("save needs a SOURCE, or --component model=SOURCE and more", field="source")
    return client.save(
        args.name,
        source,
        task=args.task,
        dtype=args.dtype,
        save_pretrained=not args.reference_only,
        revision=args.revision,
        metadata=dict(args.metadata),
        trust_remote_code=args.trust_remote_code,
        model_card=args.model_card,
        **{name: getattr(args, name) for name in _AS_GIVEN},
    )


def _load(args: argparse.Namespace, client: Client) -> Job:
    return client.load(
        args.model,
        dtype=args.dtype,
        return_type=args.return_type,
        pin=args.pin,
        trust_remote_code=args.trust_remote_code,
        model_config=args.model_config,
        **handling(args),
    )


def _persist(args: argparse.Namespace, client: Client) -> Job:
    return client.persist(args.model)


def _unload(args: argparse.Namespace, client: Client) -> Job:
    return client.unload(args.model)
