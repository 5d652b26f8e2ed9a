"""Files of pretrained weights: where libraries keep them, and their download with a limit of time."""

import re
import urllib.error
import urllib.request
from pathlib import Path

import torch

from sklcnn.signals import raise_if_signalled

DOWNLOAD_TIMEOUT = 10.0  # seconds to reach the server before giving up


def find_url_file(name, url):
    """Find the file of an address in torch's hub folder; download it there if it is missing."""
    file = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if path.is_file():
        return path
    digest = re.search(r"-([a-f0-9]{8,})\.", file)
    try:
        reach(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest and digest.group(1), progress=False)
    except (OSError, RuntimeError) as error:
        raise_if_signalled(error)
        raise _not_downloaded(name, url, path, error) from error
    return path


def find_hub_file(name, repository, files, revision):
    """Find the first of some files of a repository in the Hugging Face hub's cache; download it there if missing."""
    import huggingface_hub

    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    url = huggingface_hub.hf_hub_url(repository, files[0], revision=revision)
    try:
        reach(url)
        return Path(_download_first(repository, files, revision))
    except (OSError, RuntimeError) as error:
        raise_if_signalled(error)
        folder = Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        raise _not_downloaded(name, url, folder, error) from error


def _download_first(repository, files, revision):
    """Download the first of `files` that a repository has."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for file in files[:-1]:
        try:
            return hf_hub_download(repository, file, revision=revision)
        except EntryNotFoundError:
            continue
    return hf_hub_download(repository, files[-1], revision=revision)


def reach(url):
    """Raise OSError at once where a server cannot be reached.

    The libraries' own downloads have no time limit, or try again and again.
    """
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        if error.code in (403, 407, 502, 503, 504):  # a proxy's refusal; other answers show a server
            raise


def _not_downloaded(name, url, path, error):
    return OSError(
        f"The pretrained weights of backbone={name!r} are not on this machine and could not be downloaded "
        f"({error}). They were looked for at {path}. Fetch {url} where there is a network and pass the "
        "path of that file as backbone_weights; backbone_weights=None starts from random weights."
    )
