"""Base images without a registry: a root file system is packed and imported."""

import io
import subprocess
import tarfile
from pathlib import Path

from .docker import Docker, static_busybox
from .places import SCRATCH, TARGET

RUNTIME = "maintenant-test/runtime:1"
NGINX = "maintenant-test/nginx:1"
APPLETS = ["cp", "mkdir", "rm", "sh", "test", "touch"]
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PROGRAMS = ("maintenant-collector", "maintenant-gateway")
DEBUG = TARGET / "debug"
NOBODY = "root:x:0:0:root:/root:/none\nnonroot:x:65532:65532::/:/none\n"


class Rootfs:
    """A root file system as a tar archive."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._archive = tarfile.TarFile(fileobj=self._buffer, mode="w")
        for folder in ("bin", "etc", "dev", "proc", "sys", "run"):
            self.folder(folder)
        self.folder("tmp", 0o1777)

    def folder(self, path: str, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._archive.addfile(entry)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(content), mode
        self._archive.addfile(entry, io.BytesIO(content))

    def link(self, path: str, target: str) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._archive.addfile(entry)

    def libraries(self, *programs: Path) -> None:
        """What these programs are linked with, where their loader looks for it."""
        needed: set[str] = set()
        for program in programs:
            said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True)
            words = (word for line in said.stdout.splitlines() for word in line.split())
            needed.update(word for word in words if word.startswith("/"))
        for path in sorted(needed):
            self.file(path.lstrip("/"), Path(path).read_bytes(), 0o755)

    def busybox(self) -> None:
        self.file("bin/busybox", static_busybox().read_bytes(), 0o755)
        for applet in APPLETS:
            self.link(f"bin/{applet}", "busybox")

    def imported(self, docker: Docker, image: str, *changes: str) -> str:
        """Makes the image of it, and returns the image's name."""
        self._archive.close()
        repository, tag = image.rsplit(":", 1)
        params = [("fromSrc", "-"), ("repo", repository), ("tag", tag)]
        params += [("changes", change) for change in changes]
        headers = {"Content-Type": "application/x-tar"}
        content = self._buffer.getvalue()
        docker.call("POST", "/images/create", params=params, content=content, headers=headers)
        return image


def runtime(docker: Docker, folder: Path = DEBUG) -> str:
    """In the place of distroless: libraries, authorities, and no program at all."""
    rootfs = Rootfs()
    rootfs.libraries(*(folder / name for name in PROGRAMS))
    rootfs.file("etc/passwd", NOBODY.encode())
    rootfs.folder("etc/ssl")
    rootfs.folder("etc/ssl/certs")
    if AUTHORITIES.is_file():
        rootfs.file(str(AUTHORITIES).lstrip("/"), AUTHORITIES.read_bytes())
    return rootfs.imported(docker, RUNTIME)


def programs(docker: Docker, tag: str, folder: Path = DEBUG) -> str:
    """In the place of Rust: a shell, and the programs of a build in `/out`."""
    rootfs = Rootfs()
    rootfs.busybox()
    rootfs.folder("out")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        slim = SCRATCH / f"{name}.{tag}"
        subprocess.run(["strip", "-o", slim, folder / name], check=True)
        rootfs.file(f"out/{name}", slim.read_bytes(), 0o755)
        slim.unlink()
    return rootfs.imported(docker, f"maintenant-test/programs:{tag}", "ENV PATH=/bin")


def nginx(docker: Docker) -> str:
    """Debian's nginx in an image that is used as the official one."""
    unpacked, installed = SCRATCH / "nginx" / "usr" / "sbin" / "nginx", Path("/usr/sbin/nginx")
    program = unpacked if unpacked.is_file() else installed
    assert program.is_file(), "nginx is not there; tests/run fetches it, or apt-get install nginx"
    rootfs = Rootfs()
    rootfs.libraries(program)
    rootfs.file("bin/nginx", program.read_bytes(), 0o755)
    rootfs.file("etc/passwd", NOBODY.encode())
    for folder in ("etc/nginx", "etc/nginx/extra", "certs", "var", "var/log", "var/log/nginx"):
        rootfs.folder(folder)
    rootfs.link("var/log/nginx/error.log", "/dev/stderr")
    return rootfs.imported(docker, NGINX, 'CMD ["/bin/nginx","-g","daemon off;"]')
