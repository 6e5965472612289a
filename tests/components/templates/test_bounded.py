"""Templates that loop or grow without an end are stopped; all others write what transformers' sandbox writes."""

# ruff: noqa: E501 (a template is a line)

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from tinyllava_kit.components.templates.bounded import Endless, render

MESSAGES = [{"role": "user", "content": "naïve <b>"}, {"role": "assistant", "content": "yes\n no"}]

GOOD = [
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}</s>{% endfor %}",
    "{{ messages | tojson }} {{ messages | tojson(indent=2) }} {{ messages | length }} {{ messages[-1].role | upper }}",
    "{%- set ns = namespace(n=0) -%}\n{% for m in messages %}\n{% set ns.n = ns.n + loop.index0 * 3 %}\n{% endfor %}{{ ns.n }}",
    "{% macro show(m) %}[{{ m.role ~ ':' ~ m.content }}]{% endmacro %}{% for m in messages %}{{ show(m) }}{% endfor %}",
    "{% for m in messages %}{% if loop.last %}{% continue %}{% endif %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{{ messages | map(attribute='role') | join(', ') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ 'a,b'.split(',') | join('-') }} {{ '%s=%d' % ('a', 3) }} {{ '{:>5}|{}'.format('a', 'b') }} {{ 'ab' * 3 }} {{ 2 ** 10 }}",
    "{{ bos_token }}{% if tools is defined and tools %}T{% endif %}{% if add_generation_prompt %}<a>{% endif %}{{ none_such }}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v | replace('b', 'BB') | indent(2) }};{% endfor %}{{ dict(a=1) }}",
    "{% set x %}{% for m in messages %}{{ loop.index }}{{ m.content[:3] }}{% endfor %}{% endset %}{{ x | title }}",
    "{{ messages[0].content.startswith('na') }} {{ range(4) | list }} {{ messages | first | dictsort }} {{ 7 // 2 }}",
]


@pytest.mark.parametrize("template", GOOD)
def test_a_template_writes_what_transformers_writes(template):
    (expected,), _ = render_jinja_template(
        [MESSAGES], chat_template=template, add_generation_prompt=True, bos_token="<s>"
    )
    variables = {
        "messages": MESSAGES,
        "add_generation_prompt": True,
        "bos_token": "<s>",
        "tools": None,
        "documents": None,
    }
    assert render(template, variables) == expected


def test_what_a_template_refuses_it_refuses():
    with pytest.raises(TemplateError, match="only users"):
        render("{{ raise_exception('only users') }}", {})
    with pytest.raises(TemplateError):
        render("{% for %}", {})
    with pytest.raises(TemplateError):
        render("{{ ''.__class__.__mro__ }}", {})
    with pytest.raises(TemplateError):
        render("{% set ns = namespace(_x=1) %}", {})


LOOP = "{% for a in range(9999) %}"
ENDLESS = [
    LOOP * 6 + "{% endfor %}" * 6,
    LOOP * 3 + "x" + "{% endfor %}" * 3,
    "{{ 'A' * 10**10 }}",
    "{{ [0] * 10**10 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ 'A'.center(10**10) }}{{ 'A' | center(10**10) }}",
    "{{ 'A' | center(10**10) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '%*d' % (10**10, 1) }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ '{:>{}}'.format('a', 10**10) }}",
    "{{ 'a' | format }}{{ '%9999999999s' | format(1) }}",
    "{{ 'a\n' | indent(10**10) }}",
    "{{ [1] | tojson(indent=10**10) }}",
    "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s.replace('a', n.s) %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = ([n.s] * 9) | join(n.s) %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s | length }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | tojson }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s ~ 'a' }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | string }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | join }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ '%s' % n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ '{}'.format(n.s) }}",
    "{% set b = 'a' * 9999999 %}{% set x %}{% for i in range(9999) %}{{ b }}{% endfor %}{% endset %}{{ x | length }}",
    "{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}",
    "".join(
        f"{{% macro m{n}() %}}{{{{ m{n + 1}() }}}}{{{{ m{n + 1}() }}}}{{% endmacro %}}" for n in range(40)
    ) + "{% macro m40() %}x{% endmacro %}{{ m0() }}",
    "{{ lipsum(n=10**9) }}",
    "{% for i in range(10**12) %}{% endfor %}",
    "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "{% for c in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}",
]  # fmt: skip

RUN = """
import resource, sys
sys.path[:0] = sys.argv[1:]
from jinja2 import TemplateError
from tinyllava_kit.components.templates.bounded import render
from tests.components.templates.test_bounded import ENDLESS, MESSAGES
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
room = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for template in ENDLESS:
    try:
        print(len(render(template, {"messages": MESSAGES})), "written by", template[:80])
    except (TemplateError, TypeError, OverflowError, ValueError) as error:
        pass
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - room
print("grown", grown) if grown > 1 << 30 else None
"""


@pytest.mark.slow
def test_templates_without_an_end_are_stopped_in_little_time_and_memory():
    command = [sys.executable, "-c", RUN, *sys.path]

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]


@pytest.mark.parametrize("template", [ENDLESS[0], ENDLESS[2], ENDLESS[14]])
def test_the_message_says_what_is_wrong_with_a_template(template):
    with pytest.raises(Endless, match=r"without an end in sight|would make a value of"):
        render(template, {})
