#!/usr/bin/env python3
"""Makes the golden file of danlu-text's chat templates: templates in the manner of published models, each in words of our own,
and what transformers renders of them.

    pip install transformers jinja2
    python scripts/golden_chat.py crates/text/tests/golden/chat.json

It was made once, with the versions written into it, and is kept in the repository. The clock stands still at TIME.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

TIME = 1_770_000_123
TOOLS = [{"type": "function", "function": {
    "name": "天气", "description": "The weather of a <city> & \"its\" parts",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Its name"}, "days": {"type": "integer", "default": 3},
        "items": {"type": "array", "items": {"type": "number"}}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "time", "description": "", "parameters": {}}}]
CALL = {"type": "function", "id": "call00001", "function": {
    "name": "天气", "arguments": {"city": "São Paulo 🌦", "days": 2, "exact": True, "limit": None, "scale": 1.5e-7, "big": 1e16, "list": [1, [], {}]}}}
PLAIN = [{"role": "system", "content": "  Be brief.\n"}, {"role": "user", "content": " 你好 <b>\"x\"</b> "},
         {"role": "assistant", "content": "<think>\nshort\n</think>\n\n您好！"}, {"role": "user", "content": "Again?"}]
NO_SYSTEM = PLAIN[1:]
WITH_TOOLS = [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
              {"role": "tool", "name": "天气", "content": "{\"sun\": true}", "tool_call_id": "call00001"},
              {"role": "tool", "name": "天气", "content": "rain", "tool_call_id": "call00002"},
              {"role": "assistant", "content": "Sun, then rain.", "reasoning_content": "two answers"},
              {"role": "user", "content": [{"type": "text", "text": "Thanks"}, {"type": "image"}]}]

TEMPLATES = {
    # In the manner of Llama 3.1: the date, tools in the system's words, arguments of calls as JSON.
    "llama": r"""{{- bos_token }}
{%- if not date is defined %}
    {%- if strftime_now is defined %}{%- set date = strftime_now("%d %b %Y") %}{%- else %}{%- set date = "unknown" %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set system = "" %}{%- endif %}
{{- "<|head|>system<|end|>\n\nToday: " + date + "\n" }}
{%- if tools is not none %}
    {{- "Tools, as JSON:\n\n" }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) }}{{- "\n\n" }}{%- endfor %}
{%- endif %}
{{- system + "<|turn|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|end|>\n\n' }}
        {%- if message.content is string %}{{- message['content'] | trim }}
        {%- else %}{%- for part in message.content if part.type == 'text' %}{{- part.text }}{%- endfor %}{%- endif %}
        {{- '<|turn|>' }}
    {%- elif 'tool_calls' in message %}
        {%- for call in message.tool_calls %}
            {{- '{"name": "' + call.function.name + '", "parameters": ' }}{{- call.function.arguments | tojson }}{{- "}" }}
        {%- endfor %}
    {%- else %}
        {{- "<|head|>ipython<|end|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|end|>\n\n' }}{%- endif %}
""",
    # In the manner of Qwen 3: what was thought is kept after the last question alone, found from the end on.
    "qwen": r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not(message.content.startswith('<answer>') and message.content.endswith('</answer>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>assistant\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}{{- '<|im_start|>' + message.role + '\n' + content }}{%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\n{"name": "' + tool_call.name + '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<answer>\n' + content + '\n</answer>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}""",
    # In the manner of Mistral: roles in turns, or an exception; tools before the last question.
    "mistral": r"""{%- if messages[0]["role"] == "system" %}{%- set system = messages[0]["content"] %}{%- set rest = messages[1:] %}
{%- else %}{%- set rest = messages %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set users = rest | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}{%- set ns.index = 0 %}
{%- for message in rest %}
    {%- if not (message.role == "tool" or message.role == "assistant" and (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}{{- raise_exception("roles must take turns") }}{%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in rest %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == users[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}{%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system is defined %}{{- "[INST] " + system + "\n\n" + message["content"]|string + "[/INST]" }}
        {%- elif message.content is string %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for call in message.tool_calls %}
            {%- set out = call.function|tojson %}{{- out[:-1] }}
            {%- if not call.id is defined or call.id|length != 9 %}{{- raise_exception("an id of 9 letters is expected") }}{%- endif %}
            {{- ', "id": "' + call.id + '"}' }}{%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}{{- " " + message["content"]|trim + eos_token }}
    {%- else %}{{- '[RESULTS] {"content": ' + message.content|string + ', "id": "' + message.tool_call_id + '"}[/RESULTS]' }}{%- endif %}
{%- endfor %}
""",
    # In the manner of Gemma: the assistant is called a model, the system speaks within the first question.
    "gemma": r"""{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}{% set loop_messages = messages[1:] %}{% else %}{% set first = '' %}{% set loop_messages = messages %}{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<turn>' + role + '\n' + (first if loop.first else "") }}
{%- if message['content'] is string %}{{ message['content'] | trim }}{% elif message['content'] is iterable %}{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<image>' }}{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}
{{ '</turn>\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<turn>model\n'}}{% endif %}
""",
    # In the manner of DeepSeek: states in a namespace, thoughts left out, outputs of tools joined.
    "deepseek": r"""{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<User>' + (message['content'] if message['content'] is string else message['content'][0]['text'])}}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls']%}{%- if not ns.is_first %}{{'<Assistant><calls>' + tool['type'] + '<sep>' + tool['function']['name'] + '\n```json\n' + tool['function']['arguments']|tojson + '\n```'}}{%- set ns.is_first = true -%}{%- else %}{{'\n' + tool['type'] + '<sep>' + tool['function']['name']}}{{'</calls>'}}{%- endif %}{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and not message['tool_calls'] %}{%- if ns.is_tool %}{{'</outputs>' + message['content'] + eos_token}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<Assistant>' + content + eos_token}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<outputs><output>' + message['content'] + '</output>'}}{%- set ns.is_output_first = false %}{%- else %}{{'\n<output>' + message['content'] + '</output>'}}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'</outputs>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<Assistant><think>\n'}}{% endif %}""",
    # Marks around what is to be learnt, and loops that are left.
    "marks": r"""{% for message in messages %}
  {% if message.role == 'system' %}
    {% continue %}
  {% endif %}
{% if loop.index0 > 3 %}{% break %}{% endif %}
[{{ message.role }}]
  {% if message.role == 'assistant' %}
  {% generation %}
{% set inner = message.content | default('', true) %}{{ inner }}|{{ loop.index }}
  {%- endgeneration %}
{{ inner is defined }}
  {% else %}
{% generation -%}   {{ message.content if message.content is string else message.content | length }}   {%- endgeneration %}
  {% endif %}
{% endfor %}
{% if add_generation_prompt %}>{% endif %}""",
    # Methods of strings and lists, and what else Python's words mean.
    "python": r"""{% set t = messages[0].content %}{% if t is not string %}{% set t = 'x' %}{% endif %}
{{ t.strip() ~ '|' ~ t.lstrip() ~ '|' ~ t.rstrip() ~ '|' ~ '　全　'.strip() ~ '|' ~ 'xxaxx'.strip('x') }}
{{ 'a,b,,c'.split(',') | join('/') }} {{ 'a b  c '.split() | join('/') }} {{ 'a b  c '.split(None, 1) | join('/') }} {{ 'a.b.c'.rsplit('.', 1) | join('/') }} {{ ' a b  c'.rsplit(maxsplit=1) | join('/') }} {{ 'a.b.c'.split('.', maxsplit=1) | join('/') }}
{{ 'one two'.title() }} {{ 'one two'.capitalize() }} {{ 'ab'.upper() }} {{ 'AB'.lower() }} {{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }}
{{ 'hello'.startswith('he') }} {{ 'hello'.startswith(('x', 'he')) }} {{ 'hello'.endswith('lo') }} {{ 'hello'.find('l') }} {{ 'héllo'.find('l') }} {{ 'hello'.find('z') }} {{ 'hello'.rfind('l') }} {{ 'hello'.count('l') }}
{{ 'hello'.removeprefix('he') }} {{ 'hello'.removesuffix('lo') }} {{ '-'.join(['a', 'b']) }} {{ 'a\nb\r\nc\n'.splitlines() | length }} {{ '12'.isdigit() }} {{ ''.isdigit() }} {{ 'ab'.isalpha() }} {{ 'AB'.isupper() }} {{ ' '.isspace() }}
{{ true }} {{ none }} {{ 1.0 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ -7 % 3 }} {{ 'a' * 3 }} {{ [1, 2] + [3] }} {{ messages | length }} {{ 'b' in 'abc' }} {{ 3 in [1, 2] }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }}
{{ {'b': 1, 'a': [1.0, true, none, 'é"\\\n\u0001']} | tojson }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ ['é', '🚀'] | tojson(ensure_ascii=true) }} {{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}
{{ {'b': [], 'a': {}, 'c': [1, {'x': 'y'}]} | tojson(indent=2) }}
{% for k, v in {'z': 1, 'y': 2}.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %} {% for k in {'z': 1, 'y': 2} %}{{ k }}{% endfor %} {{ {'z': 1, 'y': 2}.values() | list }} {{ {'z': 1, 'y': 2} | items | list | length }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %y %I %p') }} {{ messages[-1].role }} {{ messages[:-1] | map(attribute='role') | join(',') }} {{ (messages | rejectattr('role', 'equalto', 'user') | list | first).role if messages | length > 1 }}
{%- macro mark(text, sign='*') %}{{ sign }}{{ text }}{{ sign }}{% endmacro %}
{{ mark('a') }}{{ mark('b', sign='_') }} {{ "%s-%d" | format('x', 3) }} {{ '{} {b}'.format('a', b='c') }} {{ 'abc'[::-1] }} {{ 'abc'[1:] }} {{ [1, 2, 3][::2] }} {{ range(3) | list }} {{ dict(a=1)['a'] }} {{ 'x' if false else 'y' }} {{ [3, 1] | sort | first }} {{ missing is defined }} {{ (missing or 'or') }}""",
}
CASES = [("plain", PLAIN, None, True), ("no system", NO_SYSTEM, None, False), ("tools", WITH_TOOLS, TOOLS, True),
         ("turns", [PLAIN[1], PLAIN[1]], None, True)]


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(TIME, datetime.timezone.utc)


def main(out):
    chat_template_utils.datetime = Clock
    record = {"transformers": transformers.__version__, "jinja2": jinja2.__version__, "time": TIME, "templates": TEMPLATES,
              "conversations": {name: {"messages": messages, "tools": tools or []} for name, messages, tools, _ in CASES}, "cases": []}
    for template, source in TEMPLATES.items():
        for name, messages, tools, prompt in CASES:
            case = {"template": template, "conversation": name, "add_generation_prompt": prompt}
            try:
                (text,), _ = chat_template_utils.render_jinja_template(
                    [messages], tools=tools, chat_template=source, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>")
                case["text"] = text
            except jinja2.exceptions.TemplateError as error:
                case["error"] = str(error)
            record["cases"].append(case)
    out.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for case in record["cases"]:
        print(case["template"], case["conversation"], repr(case.get("text", case.get("error"))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
