"""mux: from the chunks of a job to one marked, checked, published video.

Reads:  mux.tasks (MuxTask), chunk objects.
Writes: video, thumbnail and contact sheet objects; jobs.events (published or failed); jobs.control (release or
        redo_chunk).
State:  none. Published files are put with If-None-Match, the video last: if it exists, the job is done and adopted.
"""
