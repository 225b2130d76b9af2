# ruff: noqa: E501 - templates have long lines
"""Chat templates in the style of the families that models come from, written for these tests.

Each does what the family's own does where rows are concerned: where tools go, how a call is
written, what becomes of reasoning, which turns are refused, how a turn ends.
"""

from __future__ import annotations

import copy

from tokenizers import AddedToken

# ChatML with tools and thoughts, as Qwen3: reasoning of earlier questions is left out, a blank
# thought is put before the last answer.
QWEN = """\
{%- macro call(c) %}<tool_call>
{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson if c.arguments is not string else c.arguments }}}
</tool_call>{% endmacro -%}
{%- if tools %}{{ '<|im_start|>system\\n' }}{% if messages[0].role == 'system' %}{{ messages[0].content + '\\n\\n' }}{% endif %}{{ '# Tools\\n<tools>' }}{% for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- elif m.role == 'assistant' %}
{%- set content = m.content if m.content is string else '' %}
{%- set thought = m.reasoning_content if m.reasoning_content is string else '' %}
{%- if not thought and '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.index0 > ns.last and (loop.last or thought) %}{{ '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}{% else %}{{ content }}{% endif %}
{%- for c in m.tool_calls or [] %}{% if not loop.first or content %}{{ '\\n' }}{% endif %}{{ call(c.function) }}{% endfor %}
{{- '<|im_end|>\\n' }}
{%- elif m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""

# Llama 3.1: header ids, calls as bare JSON, one call a turn; a call's turn says nothing else
LLAMA3 = """\
{{- '<|begin|>' }}
{%- for m in messages %}
{%- if m.role == 'assistant' and m.tool_calls %}
{%- if m.tool_calls | length > 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}
{{- '<|start_header|>assistant<|end_header|>\\n\\n{"name": "' + m.tool_calls[0].function.name + '", "parameters": ' + (m.tool_calls[0].function.arguments | tojson) + '}<|eot|>' }}
{%- elif m.role == 'tool' %}{{ '<|start_header|>ipython<|end_header|>\\n\\n' + (m.content | tojson) + '<|eot|>' }}
{%- else %}{{ '<|start_header|>' + m.role + '<|end_header|>\\n\\n' }}
{%- if tools and m.role == 'user' and loop.index0 < 2 %}{% for tool in tools %}{{ (tool | tojson) + '\\n' }}{% endfor %}{% endif %}
{{- m.content | trim + '<|eot|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header|>assistant<|end_header|>\\n\\n' }}{% endif %}"""

# Gemma 2: no system turn, turns alternate, the assistant is called model
GEMMA2 = """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

# gpt-oss: channels, two end tokens and one for calls, reasoning under the name `thinking`
GPT_OSS = """\
{{- '<|start|>system<|message|>You are a model.<|end|>' }}
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- if m.tool_calls %}
{%- if m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}
{{- '<|start|>assistant to=functions.' + m.tool_calls[0].function.name + '<|channel|>commentary json<|message|>' + (m.tool_calls[0].function.arguments | tojson) + '<|call|>' }}
{%- else %}
{%- if m.thinking and loop.last %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content }}{{ '<|return|>' if loop.last else '<|end|>' }}
{%- endif %}
{%- elif m.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role not in ('assistant', 'tool') or not (messages[loop.index0 - 1].tool_calls or messages[loop.index0 - 1].role == 'tool') %}{{ raise_exception('Message has tool role, but there was no previous assistant message with a tool call!') }}{% endif %}
{{- '<|start|>functions to=assistant<|channel|>commentary<|message|>' + (m.content | tojson) + '<|end|>' }}
{%- else %}{{ '<|start|>' + ('developer' if m.role == 'system' else m.role) + '<|message|>' + m.content + '<|end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""

# GLM: a role token opens a turn and nothing ends one
GLM = """\
{{- '[gMASK]<sop>' }}
{%- for m in messages %}
{%- if m.role == 'tool' %}{{ '<|observation|>\\n' + m.content }}
{%- elif m.role == 'assistant' %}{{ '<|assistant|>\\n<think></think>\\n' + m.content }}
{%- else %}{{ '<|' + m.role + '|>\\n' + m.content }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""

# Mistral: strict alternation after one system turn, which goes into the last question
MISTRAL = """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set said = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}
{%- for m in rest %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{%- if m.role == 'user' %}{{ '[INST] ' + (said + '\\n\\n' if said is defined and loop.last else '') + m.content + '[/INST]' }}
{%- else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}
{%- endfor %}"""

# DeepSeek R1: keeps what comes behind the thought alone
STRIPS = """\
{%- for m in messages %}
{%- if m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' + m.content.split('</think>')[-1] + '<|im_end|>\\n' }}
{%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

FAMILIES = {
    "qwen": QWEN, "llama3": LLAMA3, "gemma2": GEMMA2, "gpt-oss": GPT_OSS, "glm": GLM,
    "mistral": MISTRAL, "strips": STRIPS,
}  # fmt: skip
SPECIAL = {
    "llama3": ["<|begin|>", "<|start_header|>", "<|end_header|>", "<|eot|>"],
    "gemma2": ["<start_of_turn>", "<end_of_turn>"],
    "gpt-oss": ["<|start|>", "<|message|>", "<|end|>", "<|channel|>", "<|return|>", "<|call|>"],
    "glm": ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>", "<|observation|>"],
    "mistral": ["[INST]", "[/INST]"],
}
PLAIN = {"qwen": ["<think>", "</think>", "<tool_call>", "</tool_call>"]}


def family_tokenizer(tokenizer, name):
    """Return a copy of a tokenizer with a family's template and tokens."""
    changed = copy.deepcopy(tokenizer)
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL.get(name, ())]
    changed.add_tokens(special, special_tokens=True)
    changed.add_tokens([AddedToken(token, normalized=False) for token in PLAIN.get(name, ())])
    changed.chat_template = FAMILIES[name]
    return changed
