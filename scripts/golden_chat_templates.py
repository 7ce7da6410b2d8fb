#!/usr/bin/env python3
"""Renders chat templates with transformers, for crates/slender-data/tests/chat_templates.rs.

    python scripts/golden_chat_templates.py > crates/slender-data/tests/data/chat_templates.json

Needs transformers. The templates are written for the test in the manner of the well-known ones: ChatML,
LLaMA-2 (system prompt folded into the first question, strict alternation), Zephyr, Llama 3 (date, trimmed
content, tools as JSON), Gemma (`model` for assistant, no system), Mistral (namespace, EOS after answers),
one with a reasoning part that is cut from earlier turns, and one with generation tags.
"""
import json
import sys

from transformers.utils.chat_template_utils import render_jinja_template

CHATML = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('user and assistant must take turns') }}{% endif %}{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if false and strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "01 Jan 2025" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}{{ tools | tojson(indent=4) }}{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if 'calls' in message %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {%- for call in message.calls %}
            {{- '{"name": "' + call.name + '", "parameters": ' }}{{ call.arguments | tojson }}{{ "}" }}
        {%- endfor %}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

MISTRAL = """{%- set ns = namespace(count=0) %}
{{- bos_token }}
{%- for message in messages | rejectattr("role", "equalto", "system") %}
    {%- if message.role == "user" %}
        {%- set ns.count = ns.count + 1 %}
        {{- "[INST] " ~ message.content ~ "[/INST]" }}
    {%- else %}
        {{- " " ~ message.content | trim ~ eos_token }}
    {%- endif %}
{%- endfor %}
{{- "<!-- " ~ ns.count ~ " " ~ (messages | map(attribute="role") | join(",")) ~ " " ~ messages | length ~ " -->" }}
"""

THINKING = """{%- for message in messages %}
{%- set content = message.content %}
{%- if message.role == 'assistant' and '</think>' in content and not loop.last %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>\\n' }}
{%- if message.name is defined and message.name %}{{ '(' ~ message.name.upper() ~ ')' }}{% endif %}
{%- if loop.index > 3 %}{% continue %}{% endif %}
{{- loop.index if message.role.startswith('u') else none }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{%- endif %}"""

MARKED = """{% for message in messages %}
    {% if message.role == 'assistant' %}
<|assistant|>
{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}

    {% else %}
<|{{ message.role }}|>
{{ message.content }}
    {% endif %}
{% endfor %}"""

TEMPLATES = dict(chatml=CHATML, llama2=LLAMA2, zephyr=ZEPHYR, llama3=LLAMA3, gemma=GEMMA, mistral=MISTRAL,
                 thinking=THINKING, marked=MARKED)


def message(role, content, **more):
    return {"role": role, "content": content, **more}


CONVERSATIONS = [
    [message("user", "Hello there.")],
    [message("system", "Be brief."), message("user", " 2+2? \n"), message("assistant", " 4\n"), message("user", "And é\U0001F600<&>'\"?")],
    [message("user", "a"), message("assistant", "<think>\nhm\n</think>\n\nb", name="bob"), message("user", "c"), message("assistant", "d")],
    [message("user", "a"), message("user", "b")],
    [message("assistant", ""), message("user", "{{ bos_token }} {% if %}"), message("tool", "x")],
    [message("user", "weather?"), message("assistant", "", calls=[{"name": "w", "arguments": {"b": [1, 2.5, None, True], "a": "é<"}}])],
]

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def main():
    cases = []
    for name, template in TEMPLATES.items():
        for messages in CONVERSATIONS:
            for prompt in (False, True):
                case = {"template": name, "messages": messages, "add_generation_prompt": prompt}
                try:
                    marked = name == "marked" and not prompt
                    rendered, spans = render_jinja_template(
                        conversations=[messages], chat_template=template, add_generation_prompt=prompt,
                        return_assistant_tokens_mask=marked, **SPECIAL)
                    case["text"] = rendered[0]
                    if marked:
                        case["answers"] = [rendered[0][a:b] for a, b in spans[0]]
                except Exception as error:  # a template may refuse, and so must ours
                    case["refused"] = type(error).__name__
                cases.append(case)
    json.dump({"special": SPECIAL, "templates": TEMPLATES, "cases": cases}, sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()
