# The read-only demo, for a Hugging Face Docker Space or any other host: published results only, no torch, nothing is launched or written.
# `make demo` runs the same command in the same environment without Docker; only the address differs.
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

ENV PFD_MODE=demo PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app

COPY requirements-demo.txt ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check -r requirements-demo.txt

# Owned by root: the server can read what it shows and write none of it.
COPY LICENSE app.py results.duckdb ./
COPY .streamlit/config.toml ./.streamlit/
COPY pages ./pages
COPY pfd_engine ./pfd_engine

USER 1000
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]

# CORS and XSRF protection stay on (pfd_engine/cli/serve.py): a Space shows this page in a frame, but page and WebSocket share the Space's
# own origin, so both work there; what a frame without cookies cannot do is upload files, and the demo takes none.
CMD ["python", "-m", "pfd_engine.cli.serve", "demo", "--address", "0.0.0.0"]
