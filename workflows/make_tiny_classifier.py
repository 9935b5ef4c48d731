"""Train the classifier of configs/examples/tiny_classifier: is a sentence of a film review positive?

    python workflows/make_tiny_classifier.py sentence_polarity.parquet --out configs/examples/tiny_classifier

Two layers of BERT, 32 wide, over a WordPiece vocabulary of its own: large enough to be right on most
sentences, small enough for a repository. A fifth of the sentences (by a hash of the text) is held out; the
accuracy on them is printed. The file has the columns `text` and `label` (`neg` or `pos`).
The trainer of the vocabulary numbers equally frequent pieces by chance, so two runs give models that differ a
little (0.704 and 0.711 in two of them); the one in the repository is the first.
"""

from __future__ import annotations

import argparse
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

LABELS = ("neg", "pos")
VOCABULARY, WIDTH, LAYERS, TOKENS = 1200, 32, 2, 64
EPOCHS, BATCH, RATE, SEED = 8, 64, 2e-3, 1


def is_held_out(text: str) -> bool:
    """Whether a sentence is one of the fifth that is not trained on."""
    return blake2b(text.encode(), digest_size=1).digest()[0] < 51


def make_tokenizer(texts: list[str]) -> BertTokenizer:
    """Lower-casing WordPiece over these texts."""
    made = BertWordPieceTokenizer(lowercase=True)
    made.train_from_iterator(texts, vocab_size=VOCABULARY, min_frequency=2, show_progress=False)
    return BertTokenizer(tokenizer_object=made._tokenizer, model_max_length=TOKENS)


def train(texts: list[str], label: np.ndarray, tokenizer: BertTokenizer) -> BertForSequenceClassification:
    """The classifier, trained with AdamW and a rate that falls to zero."""
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4,
        intermediate_size=2 * WIDTH, max_position_embeddings=TOKENS, id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    steps = EPOCHS * (len(texts) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(texts)).tolist()
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            inputs = tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
            model(**inputs, labels=torch.from_numpy(label[rows])).loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.train(False)
    return model


@torch.inference_mode()
def accuracy(
    model: BertForSequenceClassification, texts: list[str], label: np.ndarray, tokenizer: BertTokenizer
) -> float:
    """The share of the texts whose label the model gives."""
    right = 0
    for start in range(0, len(texts), 256):
        inputs = tokenizer(texts[start : start + 256], padding=True, truncation=True, return_tensors="pt")
        right += int((model(**inputs).logits.argmax(1).numpy() == label[start : start + 256]).sum())
    return right / len(texts)


def main() -> None:
    """Train, print the accuracy, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    table = pq.read_table(given.sentences, columns=["text", "label"])
    texts = table["text"].to_pylist()
    label = np.array([LABELS.index(name) for name in table["label"].to_pylist()])
    held = np.array([is_held_out(text) for text in texts])
    known = [texts[i] for i in np.flatnonzero(~held)]
    tokenizer = make_tokenizer(known)
    model = train(known, label[~held], tokenizer)
    found = accuracy(model, [texts[i] for i in np.flatnonzero(held)], label[held], tokenizer)
    print(f"{found:.3f} of {held.sum()} held-out sentences, {(~held).sum()} trained on")
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)


if __name__ == "__main__":
    main()
