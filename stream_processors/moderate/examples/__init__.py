"""Examples of what is refused and what is not, for training the semantic check and for `reelbus bench moderation`.

Nothing obscene: stand-ins and paraphrases as a newspaper would print them. Of sexual/minors there are none; that
category follows from a term, or from something sexual beside a word for a child.

blocked.toml:     paraphrases by category, which hold no term of the packs, and their harmless neighbours
benign.toml:      harmless prompts: places, medicine, art, everyday life, other scripts
sentences.toml:   sentences in the languages of the packs, with inflected terms
generate.py:      makes texts of them, seeded; train and test share neither templates nor words of the slots
obfuscations.py:  spelling tricks
train.py:         trains the head of the semantic check (semantic/head.safetensors)
"""
