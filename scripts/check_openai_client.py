"""Drives a danlu server with OpenAI's official Python client (pip install openai).

usage: python scripts/check_openai_client.py http://127.0.0.1:8080/v1 [API_KEY]

Ends with "all checks passed", or with an assertion that says what differs. Works with any model.
"""

import sys

import openai


def check_models(client):
    models = client.models.list().data
    assert len(models) == 1, models
    assert client.models.retrieve(models[0].id).id == models[0].id
    return models[0].id


def check_completions(client, model):
    whole = client.completions.create(model=model, prompt="Four score", max_tokens=12, temperature=0, logprobs=2)
    assert whole.object == "text_completion" and whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens
    stream = client.completions.create(
        model=model, prompt="Four score", max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    text, usage = "", None
    for chunk in stream:
        text += "".join(choice.text for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == whole.choices[0].text, (text, whole.choices[0].text)
    assert usage.completion_tokens == whole.usage.completion_tokens
    several = client.completions.create(model=model, prompt=["a", "b"], n=2, max_tokens=3, seed=1)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]


def check_chat(client, model):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}]
    whole = client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=12, seed=7, logprobs=True, top_logprobs=3
    )
    assert whole.choices[0].message.role == "assistant" and whole.choices[0].message.content is not None
    for entry in whole.choices[0].logprobs.content:
        assert len(entry.top_logprobs) == 3 and entry.logprob <= 0
    stream = client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=12, seed=7, stream=True, stream_options={"include_usage": True}
    )
    text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert text == whole.choices[0].message.content, (text, whole.choices[0].message.content)
    extended = client.chat.completions.create(
        model=model, messages=messages, max_tokens=4, extra_body={"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1}
    )
    assert extended.usage.completion_tokens <= 4


def check_errors(client, model):
    def fails(kind, param, **arguments):
        try:
            client.completions.create(**{"model": model, "prompt": "x", **arguments})
        except kind as error:
            assert error.body["param"] == param, error.body
        else:
            raise AssertionError(f"{arguments} was accepted")

    fails(openai.BadRequestError, "max_tokens", max_tokens=-1)
    fails(openai.BadRequestError, "temperature", temperature=9)
    fails(openai.NotFoundError, "model", model="no-such-model")


def main():
    base_url, api_key = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "none"
    client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=60)
    model = check_models(client)
    check_completions(client, model)
    check_chat(client, model)
    check_errors(client, model)
    print(f"openai {openai.__version__}: all checks passed")


if __name__ == "__main__":
    main()
