"""What lies under a store: the system's calls, directories and files. The lowest part; knows nothing of documents."""
