# Everything runs in environments of its own; nothing is installed outside this directory.
# ARGS is passed on: make test ARGS="tests/readers -k seek".
PYTHON ?= python3
ARGS ?=

TOX := .venv-tox/bin/tox
SOURCES := $(shell find s3reader ext -name '*.py*' -not -name '*.pyc')

.PHONY: demo test lint docs build bench clean

demo: .venv-demo/installed
	cd .venv-demo && bin/python -m s3reader demo $(ARGS)

test: $(TOX)
	$(TOX) -e py -- $(ARGS)

lint: $(TOX)
	$(TOX) -e lint,types

docs: $(TOX)
	$(TOX) -e docs

# sdist and wheel, in dist/.
build: $(TOX)
	.venv-tox/bin/python -m build

bench: $(TOX)
	$(TOX) -e bench -- $(ARGS)

clean:
	rm -rf build dist docs/_build .tox .venv-demo .venv-tox *.egg-info
	find ext s3reader \( -name '*.so' -o -name '*.c' \) -delete

# The commands run in .venv-demo: from here, Python would import the source tree instead.
.venv-demo/installed: pyproject.toml setup.py constraints.txt $(SOURCES)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/pip install --quiet --constraint constraints.txt '.[demo]'
	touch $@

$(TOX): pyproject.toml
	$(PYTHON) -m venv .venv-tox
	.venv-tox/bin/pip install --quiet tox build
	touch $@
