"""Weights files on the Hugging Face hub, each in a repository of its own under the same name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from dbim_lightning.errors import UserError

ON_THE_HUB = "hf://"
FILE = "model.safetensors"  # as other libraries call theirs
TIMEOUT = 5  # seconds until the hub counts as not to be reached


@cache  # jobs of a sweep take the same file
def download(source: str) -> Path:
    """The file that hf://OWNER/NAME[@REVISION] stands for, in the cache of huggingface_hub.

    Where the hub does not answer, that which is in the cache already.

    Raises:
        UserError: no huggingface_hub, no such repository, revision or file, or no answer.
    """
    repo, _, after = source.removeprefix(ON_THE_HUB).partition("@")
    revision = after or None
    with _one_line(source):
        import huggingface_hub as hub  # noqa: PLC0415 - an extra, which is slow to import
        from huggingface_hub import errors  # noqa: PLC0415

        absent = (
            errors.RepositoryNotFoundError,
            errors.RevisionNotFoundError,
            errors.EntryNotFoundError,
        )
        try:  # once: hf_hub_download alone would try a dead network for minutes
            hub.get_hf_file_metadata(hub.hf_hub_url(repo, FILE, revision=revision), timeout=TIMEOUT)
        except absent:
            raise
        except (errors.HTTPError, OSError):
            known = hub.try_to_load_from_cache(repo, FILE, revision=revision)
            if not isinstance(known, str):
                raise
            return Path(known)
        return Path(hub.hf_hub_download(repo, FILE, revision=revision, etag_timeout=TIMEOUT))


def push(repo: str, files: Mapping[str, Path | str], private: bool) -> str:
    """Puts files, by their names, into a repository in one commit; makes the repository.

    Args:
        files: paths, or content as text; of a README.md the hub checks the head before all else.
        private: where the repository is new.

    Returns:
        Its address.

    Raises:
        UserError: no huggingface_hub, nobody logged in, no permission, or no answer.
    """
    with _one_line(f"{ON_THE_HUB}{repo}"):
        import huggingface_hub as hub  # noqa: PLC0415 - an extra, which is slow to import
        from huggingface_hub import errors  # noqa: PLC0415

        if "/" not in repo:
            raise UserError(f"{repo} names no owner: give OWNER/NAME")
        api = hub.HfApi()
        if hub.get_token() is None:
            raise UserError(
                f"nobody is logged in to push to {repo}: hf auth login, or set HF_TOKEN"
            )
        try:
            api.model_info(repo, timeout=TIMEOUT)
        except errors.RepositoryNotFoundError:
            api.create_repo(repo, private=private, exist_ok=True)
        operations = [
            hub.CommitOperationAdd(name, content.encode() if isinstance(content, str) else content)
            for name, content in files.items()
        ]
        api.create_commit(repo, operations, commit_message=f"{FILE} of dbim_lightning")
        return f"{api.endpoint}/{repo}"


@contextmanager
def _one_line(source: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into a `UserError`."""
    try:
        from huggingface_hub import errors  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"{source} needs huggingface_hub ({error}): pip install 'dbim-lightning[hub]' "
            "(in a clone: pip install -e '.[hub]')"
        ) from error
    try:
        yield
    except UserError:
        raise
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{source}: there is no such repository that you may read: correct its name, or log in "
            "with hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{source}: there is no such revision: correct what is after @") from error
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(
            f"{source} has no {FILE}: take one that python -m dbim_lightning.weights push made, or "
            "download its file and import it"
        ) from error
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "server_message", None) or str(error)
        reason = " ".join(reason.split()) or type(error).__name__
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 500
        if status < 500 or isinstance(error, ValueError):
            raise UserError(
                f"the hub refuses {source} ({reason}): correct that, or log in with hf auth login "
                "as who may do it"
            ) from error
        raise UserError(
            f"{source} cannot be reached ({reason:.99}): check the network; what was loaded before "
            "needs none"
        ) from error
