"""Moderation services of others: OpenAI, AWS Rekognition, Azure AI Content Safety.

openai.py, azure.py and labels.py say what is sent and what an answer means; outcome.py what an HTTP status means;
breaker.py and waiting.py when to ask again. They are pure. post.py makes one request, rekognition.py one through boto3,
asking.py makes them in turn and gives the verdict.

Whatever is not an answer in the service's own form is no answer: the chunk waits, it is never let through.
"""
