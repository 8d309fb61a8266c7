"""A stand-in for the Hugging Face hub on this machine."""

from http.server import SimpleHTTPRequestHandler
from pathlib import Path


class HubHandler(SimpleHTTPRequestHandler):
    """The two requests of the hub that a download makes, from a folder: /owner/name/resolve/revision/file."""

    cut_short = False
    broken = False

    def translate_path(self, path):
        return str(Path(self.directory) / Path(path).name)

    def send_file(self, body):
        path = Path(self.translate_path(self.path.partition("?")[0]))
        if "/resolve/" not in self.path or not path.is_file():
            self.send_error(404)
            return
        if self.broken and body:
            self.send_error(403)  # once it broke off it does not come back
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{len(content)}-{path.name}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and self.cut_short and path.suffix != ".json":
            self.wfile.write(content[: len(content) // 2])
            type(self).broken = True
        elif body:
            self.wfile.write(content)

    def do_GET(self):
        self.send_file(body=True)

    def do_HEAD(self):
        self.send_file(body=False)

    def log_message(self, *_):
        pass
