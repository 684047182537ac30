"""The five pipelines that transformers 5 removed, with the inputs, outputs and parameters that they had in 4.41.

`register` puts them where transformers looks for its own; importing `warmlane_workers.pipelines` calls it.
"""

from warmlane_workers.pipelines.classic.conversational import Conversation, ConversationalPipeline
from warmlane_workers.pipelines.classic.question_answering import QuestionAnsweringPipeline
from warmlane_workers.pipelines.classic.register import is_language_pair, register
from warmlane_workers.pipelines.classic.text2text import (
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TranslationPipeline,
)

__all__ = [
    "Conversation",
    "ConversationalPipeline",
    "QuestionAnsweringPipeline",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TranslationPipeline",
    "is_language_pair",
    "register",
]
