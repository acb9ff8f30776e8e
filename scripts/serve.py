"""Serve a bundle's advice over HTTP."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from scripts.command import DEFAULT_BUNDLE, clear_errors


def _bound_socket(host: str, port: int) -> socket.socket:
    """Return a TCP socket bound to an address, not listening yet.

    The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only where it is.

    Raises:
        OSError: The address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return bound


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")],
    bundle: Annotated[Path, typer.Option(help="Bundle folder or .zip; the shipped agent.")] = DEFAULT_BUNDLE,
    host: Annotated[str, typer.Option(help="Address to listen on. There is no authentication.")] = "127.0.0.1",
) -> None:
    """Run the advisory service, one process, until it is interrupted."""
    with clear_errors("serve"), _bound_socket(host, port) as bound:
        import uvicorn

        from advisory.app import create_app

        app = create_app(bundle)
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"serving {bundle} (policy {app.version}) on http://{shown}:{bound.getsockname()[1]}")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[bound])


if __name__ == "__main__":
    typer.run(serve)
